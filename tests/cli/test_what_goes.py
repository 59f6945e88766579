"""What a submit ships, as one line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def _said(cli: Cli) -> str:
    lines = cli("run", "--detach", "--", "true").err.splitlines()
    return next(line for line in lines if "snapshot" in line)


def test_the_first_run_the_unchanged_one_and_changes_are_told_apart(cli: Cli, workspace: Path) -> None:
    assert "3 files, " in _said(cli)
    first = _said(cli)
    assert "unchanged since the last run; at most 0 B to send" in first
    for name in ("a.py", "b.py", "c.py", "d.py"):
        (workspace / name).write_text(name)
    (workspace / "train.py").unlink()
    assert "6 files, " in (said := _said(cli))
    assert "changed: a.py, b.py, c.py and 2 more; at most 16 B to send" in said
    assert "unchanged since the last run" in _said(cli)


def test_an_unchanged_snapshot_is_not_compared_file_by_file(
    cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _said(cli)
    monkeypatch.setattr("topcoat.pack.layer_cache.parse_entries", lambda data: pytest.fail("the entries were read"))
    assert "unchanged since the last run" in _said(cli)


def test_the_commit_is_named_and_whether_files_differ_from_it(
    cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topcoat.cli.what_goes._GIT_TIMEOUT_S", 60.0)
    assert "git" not in _said(cli)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=workspace, check=True)
    commit = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], cwd=workspace, text=True).strip()
    assert _said(cli).endswith(f"; git {commit}")
    (workspace / "train.py").write_text("1")
    assert _said(cli).endswith(f"; git {commit}-dirty")
