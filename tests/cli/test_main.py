from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, environment
from tests.support.fake_bases import add_base
from topcoat.cli.commands import COMMANDS
from topcoat.testing.registry import FakeRegistry
from topcoat.version import __version__


def test_help_lists_every_command(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    listed = [line.split()[0] for line in done.out.splitlines() if line.startswith("  ") and "-" not in line.split()[0]]
    assert listed == list(COMMANDS)
    assert done.err == ""


def test_version_prints_the_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"topcoat {__version__}\n", "")


def test_without_a_command_the_help_goes_to_stderr(cli: Cli) -> None:
    done = cli()
    assert (done.code, done.out) == (2, "")
    assert "commands:" in done.err


def test_an_unknown_command_is_wrong_usage_with_a_suggestion(cli: Cli) -> None:
    done = cli("rum")
    assert done.code == 2
    assert done.error == ("unknown command 'rum'", "did you mean run?")


def test_an_unknown_flag_before_the_command_is_wrong_usage(cli: Cli) -> None:
    done = cli("--verbose", "ls")
    assert done.code == 2
    assert done.error == ("unknown flag '--verbose' before the command", "topcoat --help")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: topcoat {command} ")
    assert f"examples:\n  {'source <(' if command == 'completion' else ''}topcoat {command}" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_flag_that_it_does_not_have(cli: Cli, command: str) -> None:
    needed = {
        "log": ["x"],
        "status": ["x"],
        "describe": ["x"],
        "cancel": ["x"],
        "delete": ["x"],
        "completion": ["zsh"],
        "cp": ["a", "b"],
    }
    done = cli(command, *needed.get(command, []), "--no-such-flag")
    assert done.code == 2
    assert "--no-such-flag" in done.error[0]


def test_python_m_topcoat_is_topcoat(topcoat: Cli) -> None:
    assert topcoat("--version") == (0, f"topcoat {__version__}\n", "")


def _modules_after(*words: str, cwd: Path | None = None) -> set[str]:
    """Return what is imported when a command line has been carried out."""
    program = (
        "import sys\n"
        "from topcoat.cli.main import main\n"
        f"code = main({list(words)!r})\n"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    # Without site, which may import anything for the sake of other packages.
    command = [sys.executable, "-S", "-c", program]
    path = ":".join([environment()["PYTHONPATH"], *(entry for entry in sys.path if entry.endswith("-packages"))])
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=cwd, env=environment(PYTHONPATH=path), timeout=60
    )
    return set(done.stderr.splitlines())


SLOW = {"asyncio", "concurrent.futures", "configparser", "docker", "fsspec", "importlib.metadata", "logging", "rich"}
SLOW |= {"shutil", "unittest", "yaml"}


def test_help_imports_few_modules() -> None:
    modules = _modules_after("--help")
    assert not modules & (SLOW | {"argparse", "dataclasses", "json", "tempfile"})
    assert {name for name in modules if name.startswith("topcoat.")} == {
        "topcoat.cli",
        "topcoat.cli.commands",
        "topcoat.cli.error_handler",
        "topcoat.cli.main",
        "topcoat.cli.output",
        "topcoat.cli.plugins",
        "topcoat.foreign_text",
        "topcoat.notices",
        "topcoat.version",
    }


def test_the_help_of_a_command_imports_nothing_of_what_the_command_does() -> None:
    modules = _modules_after("run", "--help")
    assert not modules & SLOW
    assert not {name for name in modules if name.startswith(("topcoat.s", "topcoat.runner", "topcoat.images.build"))}


def test_build_imports_nothing_that_it_does_not_need(workspace: Path, fake_registry: FakeRegistry) -> None:
    image = add_base(fake_registry)
    words = ("build", "--image", image, "--image-repo", f"{fake_registry.host}/app")
    for _ in ("the first time", "and when nothing is to be done"):
        modules = _modules_after(*words, cwd=workspace)
        assert not modules & (SLOW - {"shutil"})
        assert not {name for name in modules if name.startswith(("topcoat.schedulers", "topcoat.runner"))}
