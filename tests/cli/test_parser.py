from __future__ import annotations

import pytest

from topcoat.cli.parser import Parser
from topcoat.errors import UsageError


def _parser() -> Parser:
    parser = Parser("try", "try things", "  topcoat try\n")
    parser.add_argument("--num-replicas", type=int)
    parser.add_argument("--workspace")
    parser.alias("--workspace", "--buck-target")
    return parser


@pytest.mark.parametrize("flag", ["--num-replicas", "--num_replicas"])
def test_dashes_may_be_written_as_underscores(flag: str) -> None:
    assert _parser().parse([flag, "2"]).num_replicas == 2
    assert _parser().parse([f"{flag}=2"]).num_replicas == 2


@pytest.mark.parametrize("flag", ["--buck-target", "--buck_target"])
def test_an_alias_stands_for_the_flag_and_is_not_in_the_help(flag: str) -> None:
    assert _parser().parse([flag, "w"]).workspace == "w"
    assert "buck" not in _parser().format_help()


def test_flags_cannot_be_abbreviated() -> None:
    with pytest.raises(UsageError) as caught:
        _parser().parse(["--work", "w"])
    assert caught.value.message == "topcoat try: unknown flag '--work'"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--workspice=w"], "topcoat try: unknown flag '--workspice'", "did you mean --workspace?"),
        (["--zzz"], "topcoat try: unknown flag '--zzz'", "topcoat try --help"),
        (["extra"], "topcoat try: unknown argument 'extra'", "topcoat try --help"),
        (["--num-replicas", "x"], "topcoat try: argument --num-replicas: invalid int value: 'x'", "topcoat try --help"),
        (["--workspace"], "topcoat try: argument --workspace: expected one argument", "topcoat try --help"),
    ],
)
def test_invalid_arguments_are_wrong_usage_with_a_hint(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        _parser().parse(words)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_the_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = _parser()
    parser.add_argument("--long", help="word " * 60)
    for columns in (60, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert columns - 12 < max(map(len, parser.format_help().splitlines())) < columns
