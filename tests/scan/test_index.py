"""The stat index: what is unchanged is not read again, what may have changed is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.scan.clock import SETTLED
from topcoat.scan.index import StatIndex
from topcoat.scan.tree import SourceNode

NOW = 1_700_000_000_000_000_000
OLD = NOW - SETTLED - 1
DIGEST = b"\x07" * 32
NODE = SourceNode("a.py", "file", 0o644, 10, OLD, OLD, 42)


def digest(index: StatIndex, name: str, node: SourceNode) -> bytes | None:
    """Return what *index* says of the file at *name*, the only one of its directory."""
    directory, _, name = name.rpartition("/")
    return index.digests(directory, [node._replace(name=name)])[0]


def saved(path: Path, *nodes: tuple[str, SourceNode], now: int = NOW) -> StatIndex:
    """Remember *nodes*, save, and load what was saved."""
    index = StatIndex({}, now=now)
    for path_, node in nodes:
        directory, _, name = path_.rpartition("/")
        index.put(directory, node._replace(name=name), DIGEST)
    index.save(path)
    return StatIndex.load(path)


def test_an_unchanged_file_has_a_digest_in_the_index(tmp_path: Path) -> None:
    index = saved(tmp_path / "index", ("a.py", NODE))
    assert digest(index, "a.py", NODE) == DIGEST
    assert digest(index, "b.py", NODE) is None


@pytest.mark.parametrize(
    "change",
    [{"size": 11}, {"mtime": OLD - 1}, {"ctime": OLD - 1}, {"inode": 43}, {"mode": 0o755}],
    ids=lambda change: next(iter(change)),
)
def test_a_file_with_any_other_stat_value_is_read_again(tmp_path: Path, change: dict[str, int]) -> None:
    index = saved(tmp_path / "index", ("a.py", NODE))
    assert digest(index, "a.py", NODE._replace(**change)) is None


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
def test_a_file_is_put_into_the_index_only_if_its_times_are_settled(
    tmp_path: Path, key: str, time: int, known: bool
) -> None:
    node = NODE._replace(**{key: time})
    assert (digest(saved(tmp_path / "index", ("a.py", node)), "a.py", node) is not None) is known


@pytest.mark.parametrize("mtime", [-1, -(1 << 70)])
def test_a_time_before_1970_is_read_again_and_breaks_nothing(tmp_path: Path, mtime: int) -> None:
    node = NODE._replace(mtime=mtime)
    assert digest(saved(tmp_path / "index", ("a.py", node)), "a.py", node) is None


_times = st.integers(0, OLD)
_paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
_names = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=5)
_nodes = st.builds(
    SourceNode,
    name=st.just("-"),
    kind=st.just("file"),
    mode=st.integers(0, 0o7777),
    size=st.integers(0, 1 << 62),
    mtime=_times,
    ctime=_times,
    inode=st.integers(0, (1 << 64) - 1),
    info=st.none(),
)
_listings = st.dictionaries(_names, _nodes, max_size=5).map(
    lambda named: [node._replace(name=name) for name, node in sorted(named.items())]
)
_trees = st.dictionaries(_paths, _listings, max_size=4)


def digest_of(directory: str, node: SourceNode) -> bytes:
    """Stand in for the digest of a file's content."""
    return hashlib.sha256(repr((directory, node)).encode("utf-8", "surrogatepass")).digest()


def scanned(path: Path, tree: dict[str, list[SourceNode]]) -> list[tuple[str, SourceNode]]:
    """Scan *tree* with the index at *path*: check what it says, and return the files that had to be read."""
    index = StatIndex.load(path)
    read = []
    for directory, nodes in tree.items():
        for node, known in zip(nodes, index.digests(directory, nodes), strict=True):
            if known is None:
                read.append((directory, node))
                index.put(directory, node, digest_of(directory, node))
            else:
                assert known == digest_of(directory, node)
    index.save(path)
    return read


@given(_trees)
def test_an_index_is_loaded_as_it_was_saved(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, list[SourceNode]]
) -> None:
    path = tmp_path_factory.mktemp("index") / "index"
    assert len(scanned(path, tree)) == sum(map(len, tree.values()))
    assert scanned(path, tree) == []


@given(_trees, _trees, st.data())
def test_after_any_change_only_changed_files_are_read(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[str, list[SourceNode]],
    other: dict[str, list[SourceNode]],
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("index") / "index"
    scanned(path, before)
    # Some files stay, some change, some go and some come, in directories that stay, go and come.
    after: dict[str, list[SourceNode]] = {}
    for directory in [*before, *(new for new in other if new not in before)]:
        pool = {node.name: node for node in other.get(directory, [])}
        for node in before.get(directory, []):
            if data.draw(st.booleans()):
                pool[node.name] = data.draw(st.sampled_from([node, node._replace(inode=node.inode ^ 1)]))
        after[directory] = [pool[name] for name in sorted(pool)]
    old_nodes = {(directory, node) for directory, nodes in before.items() for node in nodes}
    changed = [
        (directory, node) for directory, nodes in after.items() for node in nodes if (directory, node) not in old_nodes
    ]
    assert scanned(path, after) == changed
    assert scanned(path, after) == []


@pytest.mark.parametrize("key", ["mtime", "size"])
def test_a_value_that_the_index_cannot_hold_affects_only_its_file(tmp_path: Path, key: str) -> None:
    path = tmp_path / "index"
    odd = NODE._replace(name="odd", **{key: 1 << 70})
    index = saved(path, ("a.py", NODE))
    assert index.digests("", [NODE, odd]) == [DIGEST, None]
    index.save(path)
    assert StatIndex.load(path).digests("", [NODE]) == [DIGEST]


def test_names_that_are_not_utf_8_are_in_the_index(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \n")
    assert digest(saved(tmp_path / "index", (name, NODE), ("other", NODE)), name, NODE) == DIGEST


def test_an_index_that_is_absent_counts_as_empty(tmp_path: Path) -> None:
    assert digest(StatIndex.load(tmp_path / "index"), "a.py", NODE) is None
    assert digest(StatIndex.load(tmp_path), "a.py", NODE) is None


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
    assert digest(index, "a.py", NODE) is None
    assert digest(index, "b.py", NODE) is None


def test_a_deleted_file_is_removed_from_the_index(tmp_path: Path) -> None:
    path = tmp_path / "index"
    index = saved(path, ("a.py", NODE), ("b.py", NODE))
    digest(index, "a.py", NODE)
    index.save(path)
    assert digest(StatIndex.load(path), "b.py", NODE) is None
    assert digest(StatIndex.load(path), "a.py", NODE) == DIGEST


def test_an_index_that_did_not_change_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "index"
    index = saved(path, ("a.py", NODE))
    digest(index, "a.py", NODE)
    path.unlink()
    index.save(path)
    assert not path.exists()


def test_an_index_that_cannot_be_written_is_a_notice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    saved(tmp_path / "file" / "index", ("a.py", NODE))
    assert "working without a cache" in caplog.text
