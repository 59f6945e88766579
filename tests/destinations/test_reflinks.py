"""Job directories on file systems with reflinks: content is shared, and a change of one file is in no other."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import workspaces
from topcoat.destinations import copy
from topcoat.destinations.directory import DirectoryDestination
from topcoat.scan.scanner import scan
from topcoat.specs import Workspace

CONTENT = os.urandom(24 << 20)


@pytest.fixture(autouse=True)
def _unchanged_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_STARTED_NS", time.time_ns() + 3_600_000_000_000)


@pytest.fixture
def place(reflinks: Path, tmp_path: Path) -> Iterator[Path]:
    place = reflinks / tmp_path.name
    place.mkdir()
    yield place
    shutil.rmtree(place)


def make(directory: Path) -> Workspace:
    # One file to share, and one that is too small and too young for it.
    return workspaces.write(directory, {"weights.bin": CONTENT, "pkg/train.py": "print(1)\n", "empty": ""})


def used(directory: Path) -> int:
    os.sync()
    st = os.statvfs(directory)
    return (st.f_blocks - st.f_bfree) * st.f_frsize


@pytest.mark.parametrize("where", ["the same file system", "another one"])
def test_the_second_snapshot_shares_its_content_and_is_a_file_of_its_own(
    place: Path, tmp_path: Path, where: str
) -> None:
    source = place / "w" if where == "the same file system" else tmp_path / "w"
    workspace = make(source)
    for number in (1, 2, 3):
        DirectoryDestination(str(place / f"job{number}")).deliver(scan(workspace), "w")
        if number == 1:
            before = used(place)
    assert used(place) - before < 4 << 20
    (place / "job2/weights.bin").write_bytes(b"changed by the job")
    with (place / "job2/pkg/train.py").open("a") as file:
        file.write("more")
    for directory in ("job1", "job3"):
        assert (place / directory / "weights.bin").read_bytes() == CONTENT
        assert (place / directory / "pkg/train.py").read_text() == "print(1)\n"
        assert (place / directory / "empty").read_bytes() == b""
    for name in ("weights.bin", "pkg/train.py"):
        assert (place / "job3" / name).stat().st_mtime_ns == (source / name).stat().st_mtime_ns


def test_what_a_job_changed_is_not_taken_from_its_directory(place: Path, tmp_path: Path) -> None:
    workspace = make(tmp_path / "w")
    DirectoryDestination(str(place / "job1")).deliver(scan(workspace), "w")
    with (place / "job1/weights.bin").open("r+b") as file:
        file.write(b"changed in place")
    DirectoryDestination(str(place / "job2")).deliver(scan(workspace), "w")
    assert (place / "job2/weights.bin").read_bytes() == CONTENT
