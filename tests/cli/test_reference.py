from __future__ import annotations

from pathlib import Path

from topcoat.cli.command_docs import command_docs
from topcoat.cli.commands import COMMANDS
from topcoat.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_in_the_docs_is_generated_from_the_commands() -> None:
    assert PAGE.read_text() == reference(), "run: python -m topcoat.cli.reference > docs/cli.md"


def test_every_command_and_every_flag_is_documented() -> None:
    text = reference()
    for page in command_docs():
        assert f"\n## {page.name}\n" in text
        for flag in page.flags:
            assert flag.help
            if flag.spellings[-1] not in ("--help", "--debug"):
                assert f"| `{', '.join(flag.spellings)}" in text
        assert all(example.startswith(("topcoat ", "docker run ", "source ")) for example in page.examples)
    assert [page.name for page in command_docs()] == list(COMMANDS)
