"""The record of an earlier snapshot: it knows exactly the files that are still the same."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.destinations.last_snapshot import LastSnapshot, SnapshotFiles
from topcoat.scan.snapshot import Entry


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@st.composite
def files(draw: st.DrawFn) -> list[Entry]:
    names = st.sampled_from([b"a", b"b", b"c\xff", b"d e"])
    paths = draw(st.sets(st.lists(names, min_size=1, max_size=3).map(b"/".join), max_size=8))
    contents = st.sampled_from([bytes(32), b"\xff" * 32])
    times = st.sampled_from([0, -1, 1_700_000_000_000_000_007, 1 << 70])
    return [
        Entry(path, "file", draw(st.sampled_from([0o644, 0o755])), draw(st.integers(0, 2)), draw(contents), draw(times))
        for path in sorted(paths)
    ]


@given(before=files(), now=files(), seed=st.integers())
def test_a_file_is_the_same_if_all_of_it_is(before: list[Entry], now: list[Entry], seed: int) -> None:
    # Most files of a job are those of the last one.
    kept = random.Random(seed)
    known = {entry.path: entry for entry in before}
    now = [known.get(entry.path, entry) if kept.random() < 0.8 else entry for entry in now]
    LastSnapshot.write("/jobs/1\udcff", SnapshotFiles(before), "key", "w")
    last = LastSnapshot.read("key", "w")
    assert last is not None
    assert last.directory == "/jobs/1\udcff"
    found = SnapshotFiles(now)
    same = [entry for directory in found.directories for entry in last.same_files(directory, found)]
    # A date that does not fit into 64 bits is not kept, nor is its directory: a copy is right too.
    unkept = {os.path.dirname(entry.path) for entry in before if entry.mtime >= 1 << 63}
    expected = [entry for entry in now if known.get(entry.path) == entry and os.path.dirname(entry.path) not in unkept]
    assert sorted(same) == expected


def test_another_key_has_no_record() -> None:
    LastSnapshot.write("/jobs/1", SnapshotFiles([]), "w")
    assert LastSnapshot.read("w") == LastSnapshot("/jobs/1", {})
    assert LastSnapshot.read("w2") is None


def test_a_file_of_a_changed_directory_is_known_one_by_one(tmp_path: Path) -> None:
    kept, edited = (Entry(name, "file", 0o644, 1, bytes(32), 10**18) for name in (b"d/a", b"d/b"))
    (tmp_path / "d").mkdir()
    for name in ("a", "b"):
        path = tmp_path / "d" / name
        path.write_text("x")
        path.chmod(0o644)
        os.utime(path, ns=(10**18, 10**18))
    LastSnapshot.write(str(tmp_path), SnapshotFiles([kept, edited]), "w")
    last = LastSnapshot.read("w")
    assert last is not None
    edited = edited._replace(content=b"n" * 32)
    assert last.has(kept, str(tmp_path / "d/a"))
    assert not last.has(edited, str(tmp_path / "d/b"))
    (tmp_path / "d" / "a").write_text("y")
    assert not last.has(kept, str(tmp_path / "d/a"))
