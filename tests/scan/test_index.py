"""The stat index: what is unchanged is not read again, what may have changed is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import StateError
from topcoat.scan.index import SETTLED, StatIndex
from topcoat.scan.tree import Node

NOW = 1_700_000_000_000_000_000
OLD = NOW - SETTLED - 1
DIGEST = b"\x07" * 32
NODE = Node("a.py", "file", 0o644, 10, OLD, OLD, 42)


def saved(path: Path, *nodes: tuple[str, Node], now: int = NOW) -> StatIndex:
    """Remember *nodes*, save, and load what was saved."""
    index = StatIndex({}, now=now)
    for name, node in nodes:
        index.remember(name, node, DIGEST)
    index.save(path)
    return StatIndex.load(path)


def test_an_unchanged_file_is_known(tmp_path: Path) -> None:
    index = saved(tmp_path / "index", ("a.py", NODE))
    assert index.digest("a.py", NODE) == DIGEST
    assert index.digest("b.py", NODE) is None


@pytest.mark.parametrize(
    "change",
    [{"size": 11}, {"mtime": OLD - 1}, {"ctime": OLD - 1}, {"inode": 43}, {"mode": 0o755}],
    ids=lambda change: next(iter(change)),
)
def test_a_file_that_differs_in_anything_is_read_again(tmp_path: Path, change: dict[str, int]) -> None:
    index = saved(tmp_path / "index", ("a.py", NODE))
    assert index.digest("a.py", NODE._replace(**change)) is None


@pytest.mark.parametrize("key", ["mtime", "ctime"])
@pytest.mark.parametrize(
    ("time", "known"),
    [
        (NOW - SETTLED - 1, True),
        (NOW - SETTLED, False),
        (NOW, False),
        (NOW + 10**12, False),
        (1 << 70, False),
        (0, True),
    ],
    ids=["settled", "racy", "this instant", "future", "far future", "epoch"],
)
def test_a_file_is_remembered_only_once_its_times_are_settled(tmp_path: Path, key: str, time: int, known: bool) -> None:
    node = NODE._replace(**{key: time})
    assert (saved(tmp_path / "index", ("a.py", node)).digest("a.py", node) is not None) is known


@pytest.mark.parametrize("mtime", [-1, -(1 << 70)])
def test_a_time_before_1970_is_read_again_and_breaks_nothing(tmp_path: Path, mtime: int) -> None:
    node = NODE._replace(mtime=mtime)
    assert saved(tmp_path / "index", ("a.py", node)).digest("a.py", node) is None


_times = st.integers(0, OLD)
_names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
_nodes = st.builds(
    Node,
    name=st.just("-"),
    kind=st.just("file"),
    mode=st.integers(0, 0o7777),
    size=st.integers(0, 1 << 62),
    mtime=_times,
    ctime=_times,
    inode=st.integers(0, (1 << 64) - 1),
)


@given(st.dictionaries(_names, _nodes, max_size=20))
def test_what_is_saved_is_what_is_loaded(tmp_path_factory: pytest.TempPathFactory, nodes: dict[str, Node]) -> None:
    path = tmp_path_factory.mktemp("index") / "index"
    index = saved(path, *nodes.items())
    assert all(index.digest(name, node) == DIGEST for name, node in nodes.items())


def test_names_that_are_no_utf_8_are_remembered(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \n")
    assert saved(tmp_path / "index", (name, NODE), ("other", NODE)).digest(name, NODE) == DIGEST


def test_an_index_that_is_absent_counts_as_empty(tmp_path: Path) -> None:
    assert StatIndex.load(tmp_path / "index").digest("a.py", NODE) is None
    assert StatIndex.load(tmp_path).digest("a.py", NODE) is None


@given(st.data())
def test_an_index_that_is_damaged_or_of_another_version_counts_as_empty(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("index") / "index"
    saved(path, ("a.py", NODE), ("b.py", NODE))
    good = path.read_bytes()
    how = data.draw(st.sampled_from(["cut", "flip", "append", "replace"]))
    if how == "cut":
        bad = good[: data.draw(st.integers(0, len(good) - 1))]
    elif how == "flip":
        at = data.draw(st.integers(0, len(good) - 1))
        bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    elif how == "append":
        bad = good + data.draw(st.binary(min_size=1))
    else:
        bad = data.draw(st.binary())
    path.write_bytes(bad)
    index = StatIndex.load(path)
    assert index.digest("a.py", NODE) is None
    assert index.digest("b.py", NODE) is None


def test_a_file_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "index"
    index = saved(path, ("a.py", NODE), ("b.py", NODE))
    index.digest("a.py", NODE)
    index.save(path)
    assert StatIndex.load(path).digest("b.py", NODE) is None
    assert StatIndex.load(path).digest("a.py", NODE) == DIGEST


def test_an_index_that_did_not_change_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "index"
    index = saved(path, ("a.py", NODE))
    index.digest("a.py", NODE)
    path.unlink()
    index.save(path)
    assert not path.exists()


def test_an_index_that_cannot_be_written_is_a_state_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot write to"):
        saved(tmp_path / "gone" / "index", ("a.py", NODE))
