from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from topcoat.scan.ignore import DEFAULT_PATTERNS, IgnoreRules


def test_the_file_has_the_same_effect_as_the_default_patterns(
    cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / ".torchxignore").unlink()
    for name in (".git", "pkg/__pycache__", "data"):
        (workspace / name).mkdir()
        (workspace / name / "file").touch()
    before = cli("ls").out
    assert cli("init") == (0, ".torchxignore\n", "")
    assert cli("ls").out == ".torchxignore\n" + before
    text = (workspace / ".torchxignore").read_bytes()
    rules = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
    assert rules == list(DEFAULT_PATTERNS)
    IgnoreRules.parse([("f", text.replace(b"\n# ", b"\n"))])


def test_an_existing_file_is_not_overwritten(cli: Cli, workspace: Path) -> None:
    before = (workspace / ".torchxignore").read_bytes()
    done = cli("init")
    assert (done.code, done.out) == (2, "")
    assert done.error == (".torchxignore already exists", "edit it, or remove it first")
    assert (workspace / ".torchxignore").read_bytes() == before


def test_another_directory_can_be_named(cli: Cli, workspace: Path) -> None:
    assert cli("init", "pkg").out == "pkg/.torchxignore\n"
    assert (workspace / "pkg" / ".torchxignore").exists()
    done = cli("init", "no/such")
    assert (done.code, done.error[0]) == (1, "no/such does not exist")


def test_a_directory_that_cannot_be_written_is_an_error(cli: Cli, workspace: Path) -> None:
    done = cli("init", "train.py")
    assert done.code == 2
    assert done.error[0] == "cannot write train.py/.torchxignore: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_an_error(cli: Cli, workspace: Path) -> None:
    (workspace / "pkg").chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = cli("init", "pkg")
    assert done.code == 2
    assert done.error[0] == "cannot write pkg/.torchxignore: Permission denied"
