from __future__ import annotations

from tests.cli.conftest import Cli


def test_builtins_are_listed_with_their_descriptions(cli: Cli) -> None:
    result = cli("builtins")
    assert (result.code, result.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert rows["utils.echo"] == "Print a message."
    assert list(rows) == sorted(rows)
    assert cli("builtins", "--json").json == rows


def test_the_source_of_a_component_is_printed(cli: Cli) -> None:
    result = cli("builtins", "--print", "utils.echo")
    assert result.out.startswith("def echo(")
    assert cli("builtins", "--print", "utils.ecko").error == (
        "unknown component 'utils.ecko'",
        "did you mean utils.echo or utils.copy or utils.touch?",
    )
