"""A write through mmap may change no time of a file: the stat index does not stay wrong for good."""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from topcoat.errors import WorkspaceChanged
from topcoat.records import caches_unread
from topcoat.scan import content
from topcoat.scan.retry import retry_if_changed
from topcoat.scan.scanner import Scan, ScanOptions, scan
from topcoat.specs.workspace import Workspace
from topcoat.testing.trees import build_tree

OLD, NEW = b"old", b"new"


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """Map the file for writing, with its pages written to: from now on no write changes its times."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        data[:] = data[:]
        yield data


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test writes is old enough for the stat index."""
    clock = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: clock() + 10_000_000_000)


def look(directory: Path) -> Scan:
    return scan(Workspace({str(directory): ""}), ScanOptions())


def contents(scanned: Scan) -> dict[bytes, bytes]:
    return {entry.path: scanned.read(entry) for entry in scanned.snapshot if entry.kind == "file"}


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
@pytest.mark.usefixtures("settled")
def test_a_file_that_is_mapped_for_writing_is_read_each_time(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a.bin": OLD, "b.bin": OLD})
    with mapped(tmp_path / "a.bin") as data:
        assert contents(look(tmp_path)) == {b"a.bin": OLD, b"b.bin": OLD}
        data[:] = NEW
        assert contents(look(tmp_path)) == {b"a.bin": NEW, b"b.bin": OLD}


class TestWithoutLeases:
    """The gap that remains: a file system where no program can know that a file is mapped."""

    @pytest.fixture
    def stale(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: None) -> Path:
        """A workspace with nine files that were written through mmap after their records were made."""
        monkeypatch.setattr(content, "is_open_for_writing", lambda source: False)
        names = [f"{number}.bin" for number in range(9)]
        build_tree(tmp_path, dict.fromkeys(names, OLD))
        for name in names:
            for _ in range(10):
                with mapped(tmp_path / name) as data:
                    before = os.stat(tmp_path / name)
                    look(tmp_path)
                    data[:] = NEW
                    after = os.stat(tmp_path / name)
                # The first write after the page was written to the disk moves the ctime.
                if after.st_ctime_ns == before.st_ctime_ns:
                    break
                (tmp_path / name).write_bytes(OLD)
            assert after.st_ctime_ns == before.st_ctime_ns
        return tmp_path

    def test_a_file_that_is_found_different_is_read_by_the_next_scan(self, stale: Path) -> None:
        with pytest.raises(WorkspaceChanged, match="changed after it was scanned"):
            contents(look(stale))
        assert set(contents(look(stale)).values()) == {NEW}

    def test_one_command_finds_all_that_is_different(self, stale: Path) -> None:
        assert set(retry_if_changed(lambda: contents(look(stale))).values()) == {NEW}

    def test_a_scan_that_reads_no_cache_reads_everything(self, stale: Path) -> None:
        with caches_unread():
            assert set(contents(look(stale)).values()) == {NEW}
        assert set(contents(look(stale)).values()) == {NEW}
