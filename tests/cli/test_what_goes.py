"""What a submit ships, as one line."""

from __future__ import annotations

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
