from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_builtins_are_listed_with_their_descriptions(cli: Cli) -> None:
    result = cli("builtins")
    assert (result.code, result.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert rows["utils.echo"] == "Print a message."
    assert list(rows) == sorted(rows)
    assert cli("builtins", "--json").json == rows


def test_the_source_of_a_component_is_printed(cli: Cli) -> None:
    assert "def echo(" in cli("builtins", "--print", "utils.echo").out
    assert cli("builtins", "--print", "utils.ecko").error == (
        "unknown component 'utils.ecko'",
        "did you mean utils.echo or utils.copy or utils.touch?",
    )


@pytest.mark.parametrize("name", ["dist.ddp", "dist.spmd", "utils.copy", "utils.sh", "utils.python", "utils.binary"])
def test_what_is_printed_is_a_file_that_loads(cli: Cli, tmp_path: Path, name: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(cli("builtins", "--print", name).out)
    done = cli("run", f"{file}:{name.partition('.')[2]}", "--help")
    assert (done.code, done.err) == (0, "")
    own = cli("run", name, "--help").out
    assert done.out.split("\n\n", 1)[1].replace(f"{file}:{name.partition('.')[2]}", name) == own.split("\n\n", 1)[1]
