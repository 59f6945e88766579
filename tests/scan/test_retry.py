"""Starting over when a file of the workspace changes meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from topcoat.errors import StateError, WorkspaceChanged
from topcoat.scan.retry import retry_if_changed
from topcoat.scan.scanner import Scan, scan
from topcoat.scan.tree import LocalTree
from topcoat.specs.workspace import Workspace
from topcoat.testing.trees import build_tree


@pytest.mark.parametrize(("changes", "attempts"), [(0, 1), (1, 2), (2, 3), (3, 3), (9, 3)])
def test_three_attempts_are_made_at_most(changes: int, attempts: int) -> None:
    made: list[int] = []

    def attempt() -> str:
        made.append(1)
        if len(made) <= changes:
            raise WorkspaceChanged(f"change {len(made)}")
        return "unchanged"

    if changes >= 3:
        with pytest.raises(WorkspaceChanged, match="change 3"):
            retry_if_changed(attempt)
    else:
        assert retry_if_changed(attempt) == "unchanged"
    assert len(made) == attempts


def test_other_errors_are_raised_at_once() -> None:
    made: list[int] = []

    def attempt() -> None:
        made.append(1)
        raise StateError("no")

    with pytest.raises(StateError):
        retry_if_changed(attempt)
    assert made == [1]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    build_tree(tmp_path, {".torchxignore": "*.tmp", "a.py": "1", "d": {"b.py": "2"}, "e": {"c.py": "3"}})
    return Workspace({str(tmp_path): ""})


def read_all(scanned: Scan) -> dict[bytes, bytes]:
    return {entry.path: scanned.read(entry) for entry in scanned.snapshot if entry.kind == "file"}


def test_only_the_changed_file_is_scanned_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[list[str]] = []
    list_directory = LocalTree.list
    monkeypatch.setattr(
        LocalTree,
        "list",
        lambda self, path: listed[-1].append(path) or list_directory(self, path),  # type: ignore
    )

    # A file that was written a moment ago is listed again for another reason.
    time.sleep(0.1)

    def attempt() -> dict[bytes, bytes]:
        listed.append([])
        scanned = scan(workspace)
        if len(listed) == 1:
            (tmp_path / "d/b.py").write_text("changed")
            (tmp_path / "d/b.py").chmod(0o755)
        return read_all(scanned)

    assert retry_if_changed(attempt)[b"d/b.py"] == b"changed"
    assert listed == [["", "", "d", "e", "d"], []]


@pytest.mark.parametrize("change", ["unlink", "to a link", "the ignore file"])
def test_everything_is_scanned_again_after_other_changes(workspace: Workspace, tmp_path: Path, change: str) -> None:
    attempts: list[int] = []

    def attempt() -> set[bytes]:
        scanned = scan(workspace)
        attempts.append(1)
        if len(attempts) == 1:
            match change:
                case "unlink":
                    (tmp_path / "a.py").unlink()
                case "to a link":
                    (tmp_path / "a.py").unlink()
                    (tmp_path / "a.py").symlink_to("d/b.py")
                case "the ignore file":
                    (tmp_path / ".torchxignore").write_text("a.py")
        read_all(scanned)
        return {entry.path for entry in scanned.snapshot if entry.kind == "file"}

    found = retry_if_changed(attempt)
    assert len(attempts) == 2
    assert b"a.py" not in found
    assert b"d/b.py" in found


def test_two_projects_and_targets_are_scanned_again_alone_too(tmp_path: Path) -> None:
    build_tree(tmp_path, {"one": {"a.py": "1"}, "two": {"a.py": "2"}})
    workspace = Workspace({str(tmp_path / "one"): "x", str(tmp_path / "two"): "y"})
    attempts: list[int] = []

    def attempt() -> dict[bytes, bytes]:
        scanned = scan(workspace)
        attempts.append(1)
        if len(attempts) == 1:
            (tmp_path / "two/a.py").write_text("changed")
            # What is not read again is as it was.
            (tmp_path / "one/new.py").touch()
        return read_all(scanned)

    assert retry_if_changed(attempt) == {b"x/a.py": b"1", b"y/a.py": b"changed"}


def test_a_scan_after_the_attempts_is_a_new_one(workspace: Workspace, tmp_path: Path) -> None:
    first = retry_if_changed(lambda: scan(workspace))
    (tmp_path / "a.py").write_text("changed")
    assert retry_if_changed(lambda: scan(workspace)).snapshot != first.snapshot
