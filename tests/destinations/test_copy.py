"""Copies of single files, checked while they are made."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.support import workspaces
from tests.support.reflinks import stand_in_for_reflinks
from topcoat.destinations import copy
from topcoat.destinations.copy import copy_file
from topcoat.errors import WorkspaceChanged
from topcoat.helpers import plain_files
from topcoat.scan.scanner import Scan, scan
from topcoat.scan.snapshot import Entry
from topcoat.specs import Workspace


@pytest.fixture
def scanned(tmp_path: Path) -> Scan:
    workspace = workspaces.write(
        tmp_path / "w", {"small": "small", "empty": "", "large": b"x" * (3 << 20), ".torchxignore": ""}
    )
    (tmp_path / "w/small").chmod(0o755)
    return scan(workspace)


@pytest.fixture(autouse=True)
def forget_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_devices_without_reflink", set())


def _entry(scanned: Scan, name: str) -> Entry:
    return next(entry for entry in scanned.snapshot if entry.path == name.encode())


@pytest.mark.parametrize("name", ["small", "empty", "large"])
def test_content_mode_and_time_are_kept(scanned: Scan, tmp_path: Path, name: str) -> None:
    copy_file(scanned, _entry(scanned, name), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "w" / name).read_bytes()
    st, original = (tmp_path / "copy").stat(), (tmp_path / "w" / name).stat()
    assert st.st_mtime_ns == original.st_mtime_ns
    assert st.st_mode & 0o7777 == (0o755 if name == "small" else 0o644)


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize("content", ["other", b"y" * (3 << 20)])
def test_changed_content_is_an_error(scanned: Scan, tmp_path: Path, name: str, content: Any) -> None:
    workspaces.write(tmp_path / "w", {name: content})
    with pytest.raises(WorkspaceChanged, match=name):
        copy_file(scanned, _entry(scanned, name), str(tmp_path / "copy"))


def test_a_large_file_of_another_file_system_is_streamed(tmp_path: Path) -> None:
    memory = MemoryFileSystem()
    memory.pipe_file("/copied/large", b"y" * (3 << 20))
    scanned = scan(Workspace({"memory://copied": ""}))
    entry = _entry(scanned, "large")
    copy_file(scanned, entry, str(tmp_path / "copy"))
    memory.pipe_file("/copied/large", b"z" * (3 << 20))
    with pytest.raises(WorkspaceChanged, match="large"):
        copy_file(scanned, entry, str(tmp_path / "again"))
    memory.rm("/copied", recursive=True)
    assert (tmp_path / "copy").read_bytes() == b"y" * (3 << 20)


def test_an_existing_file_is_not_overwritten(scanned: Scan, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(FileExistsError):
        copy_file(scanned, _entry(scanned, "small"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_text() == "mine"


class TestClone:
    """Reflinks, on a machine whose file systems may not have them: the one call that makes them is stood in for."""

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        return stand_in_for_reflinks(monkeypatch)

    def test_a_clone_is_the_file(self, scanned: Scan, tmp_path: Path, calls: list[int]) -> None:
        copy_file(scanned, _entry(scanned, "small"), str(tmp_path / "clone"))
        assert calls == [0x40049409]
        assert (tmp_path / "clone").read_text() == "small"
        assert (tmp_path / "clone").stat().st_mode & 0o7777 == 0o755
        assert (tmp_path / "clone").stat().st_mtime_ns == (tmp_path / "w/small").stat().st_mtime_ns

    def test_a_clone_of_a_changed_file_is_an_error(self, scanned: Scan, tmp_path: Path, calls: list[int]) -> None:
        workspaces.write(tmp_path / "w", {"small": "SMALL"})
        with pytest.raises(WorkspaceChanged, match="small"):
            copy_file(scanned, _entry(scanned, "small"), str(tmp_path / "clone"))

    @pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY])
    def test_a_device_without_reflinks_is_tried_once(
        self, scanned: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        collected = []

        def refuse(*args: Any) -> None:
            collected.append(args)
            raise OSError(code, "no")

        monkeypatch.setattr(fcntl, "ioctl", refuse)
        for name in ("small", "large"):
            copy_file(scanned, _entry(scanned, name), str(tmp_path / name))
            assert (tmp_path / name).read_bytes() == (tmp_path / "w" / name).read_bytes()
        assert len(collected) == 1

    def test_a_full_disk_is_an_error(self, scanned: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(fcntl, "ioctl", refuse)
        with pytest.raises(OSError, match="No space left"):
            copy_file(scanned, _entry(scanned, "small"), str(tmp_path / "clone"))


@pytest.mark.parametrize("copy_or_clone", ["copy", "clone"])
def test_a_file_that_grew_since_the_scan_is_copied_as_it_was_scanned(
    scanned: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy_or_clone: str
) -> None:
    for name in ("small", "large"):
        before = (tmp_path / "w" / name).read_bytes()
        with (tmp_path / "w" / name).open("ab") as file:
            file.write(b"another line")
        if copy_or_clone == "clone":
            stand_in_for_reflinks(monkeypatch)
        copy_file(scanned, _entry(scanned, name), str(tmp_path / name))
        assert (tmp_path / name).read_bytes() == before


class TestSettledFiles:
    """A file that has not changed since before the scan is not read a second time to hash it."""

    @pytest.fixture
    def settled(self, scanned: Scan, monkeypatch: pytest.MonkeyPatch) -> Scan:
        # As if this process had started an hour after the files were written.
        monkeypatch.setattr(copy, "_STARTED_NS", time.time_ns() + 3_600_000_000_000)
        monkeypatch.setattr(copy, "_copy_checked", None)
        return scanned

    @pytest.mark.parametrize("name", ["small", "empty", "large"])
    def test_the_copy_is_the_file(self, settled: Scan, tmp_path: Path, name: str) -> None:
        copy_file(settled, _entry(settled, name), str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == (tmp_path / "w" / name).read_bytes()
        assert (tmp_path / "copy").stat().st_mtime_ns == (tmp_path / "w" / name).stat().st_mtime_ns

    @pytest.mark.parametrize("name", ["small", "large"])
    def test_a_write_during_the_copy_is_an_error(
        self, settled: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        whole = plain_files.copy_some

        def copy_and_meddle(source: int, out: int, size: int) -> int:
            os.utime(tmp_path / "w" / name, (1, 1))
            return whole(source, out, size)

        monkeypatch.setattr(plain_files, "copy_some", copy_and_meddle)
        with pytest.raises(WorkspaceChanged, match=name):
            copy_file(settled, _entry(settled, name), str(tmp_path / "copy"))


def test_an_edit_that_keeps_size_and_mtime_is_an_error(scanned: Scan, tmp_path: Path) -> None:
    """A program can set the mtime back, and not the ctime."""
    before = (tmp_path / "w/small").stat()
    (tmp_path / "w/small").write_text("SMALL")
    os.utime(tmp_path / "w/small", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WorkspaceChanged, match="small"):
        copy_file(scanned, _entry(scanned, "small"), str(tmp_path / "copy"))


def test_a_sparse_file_stays_sparse(tmp_path: Path) -> None:
    path = tmp_path / "w" / "sparse"
    path.parent.mkdir()
    with path.open("wb") as file:
        for offset in (0, 20 << 20, (40 << 20) + 100):
            file.seek(offset)
            file.write(b"data")
        file.truncate(60 << 20)
    scanned = scan(Workspace({str(path.parent): ""}))
    copy_file(scanned, _entry(scanned, "sparse"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").stat().st_blocks * 512 < 1 << 20
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
