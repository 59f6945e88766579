from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from topcoat.cli.plugins import command_names

MODULE = """
def add_arguments(parser):
    parser.add_argument("--loud", action="store_true")

def run(args):
    print("HELLO" if args.loud else "hello")

class Counting:
    def add_arguments(self, parser):
        parser.add_argument("number", type=int)

    def run(self, args):
        return args.number

nothing = 3
"""

ENTRY_POINTS = """\
[console_scripts]
other = greeter:run

[topcoat.cmds]
greet = greeter
run = greeter
nothing = greeter:nothing
missing = no_such_module

[torchx.cli.cmds]
count=greeter:Counting
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that adds commands."""
    info = tmp_path / "greeter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "greeter.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("package")
def test_commands_of_packages_are_listed_without_being_imported(cli: Cli) -> None:
    assert {"count", "greet", "missing", "nothing"} <= set(command_names())
    done = cli("--help")
    assert done.code == 0
    assert "  greet\n" in done.out
    assert done.out.count("\n  run ") == 1
    assert "other" not in command_names()


@pytest.mark.usefixtures("package")
def test_a_module_is_a_command(cli: Cli) -> None:
    assert cli("greet") == (0, "hello\n", "")
    assert cli("greet", "--loud") == (0, "HELLO\n", "")
    assert "--loud" in cli("greet", "--help").out


@pytest.mark.usefixtures("package")
def test_a_class_as_torchx_has_them_is_a_command(cli: Cli) -> None:
    assert cli("count", "3").code == 3


@pytest.mark.usefixtures("package")
def test_a_package_does_not_replace_a_command_of_topcoat(cli: Cli) -> None:
    assert cli("run", "--help").out.startswith("usage: topcoat run [flags]")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "the command 'missing' of greeter cannot be loaded: ModuleNotFoundError"),
        ("nothing", "greeter:nothing of greeter is not a command"),
    ],
)
def test_a_command_that_cannot_be_used_is_an_error_that_names_its_package(cli: Cli, name: str, message: str) -> None:
    done = cli(name)
    assert done.code == 1
    assert done.error[0].startswith(message)


def test_malformed_files_on_the_path_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dist-info").write_text("a file")
    (tmp_path / "b.dist-info" / "entry_points.txt").mkdir(parents=True)
    (tmp_path / "c.dist-info").mkdir()
    (tmp_path / "c.dist-info" / "entry_points.txt").write_bytes(b"[topcoat.cmds]\n\xff=x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "no-such"))
    assert command_names() == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("help", "topcoat --help"),
        ("version", "topcoat --version"),
        ("logs", "topcoat log"),
        ("ps", "topcoat list"),
        ("kill", "topcoat cancel"),
        ("rm", "topcoat delete"),
        ("stats", "did you mean status?"),
        ("sh", "topcoat run -- sh ..."),
        ("train.py", "to run it as a command: topcoat run -- python train.py ..."),
        ("zzz", "topcoat --help lists the commands"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_the_hint_for_an_unknown_command_names_the_one_that_was_meant(cli: Cli, name: str, hint: str) -> None:
    assert cli(name).error == (f"unknown command {name!r}", hint)
