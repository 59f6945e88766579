"""A scan that has begun in the background is the one that is used, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from topcoat.errors import WorkspaceNotFound
from topcoat.scan import scanner
from topcoat.scan.begun import finished
from topcoat.scan.retry import retry_if_changed
from topcoat.scan.scanner import ScanOptions, begin_scan, scan
from topcoat.scan.tree import keeps_changing
from topcoat.specs.workspace import Workspace

OPTIONS = ScanOptions()


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The workspaces that were read."""
    read: list[object] = []
    whole = scanner._scan

    def counted(workspace: Workspace, *rest: object) -> scanner.Scan:
        read.append(workspace)
        return whole(workspace, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scanner, "_scan", counted)
    return read


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "train.py").write_text("1")
    return Workspace({str(tmp_path / "w"): ""})


def test_what_has_begun_is_read_once_and_what_is_asked_for_again_again(
    workspace: Workspace, scans: list[object]
) -> None:
    begin_scan(workspace, OPTIONS)
    begin_scan(workspace, OPTIONS)
    assert [entry.path for entry in scan(workspace, OPTIONS).snapshot] == [b"train.py"]
    assert len(scans) == 1
    (Path(next(iter(workspace.projects))) / "new.py").touch()
    assert len(scan(workspace, OPTIONS).snapshot) == 2


def test_other_options_are_another_scan(workspace: Workspace, scans: list[object]) -> None:
    begin_scan(workspace, ScanOptions(modes="exact"))
    scan(workspace, OPTIONS)
    assert len(scans) == 2
    scan(workspace, ScanOptions(modes="exact"))
    assert len(scans) == 2


def test_its_error_is_raised_where_the_scan_is_needed(tmp_path: Path) -> None:
    missing = Workspace({str(tmp_path / "missing"): ""})
    begin_scan(missing, OPTIONS)
    with pytest.raises(WorkspaceNotFound):
        scan(missing, OPTIONS)
    assert finished((missing.resolved(), OPTIONS)) is None


def test_another_attempt_updates_its_scan_and_begins_none(workspace: Workspace, scans: list[object]) -> None:
    attempts = []

    def attempt() -> int:
        begin_scan(workspace, OPTIONS)
        scanned = scan(workspace, OPTIONS)
        attempts.append(scanned)
        if len(attempts) == 1:
            error = keeps_changing("train.py")
            error.file = scanned.source_of(scanned.snapshot.entries[0])
            raise error
        return len(attempts)

    assert retry_if_changed(attempt) == 2
    assert len(scans) == 1
