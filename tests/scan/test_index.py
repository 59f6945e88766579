"""The stat index: what is unchanged is not read again, what may have changed is."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.scan.clock import SETTLED
from topcoat.scan.index import StatIndex
from topcoat.scan.tree import SourceNode
from topcoat.state import cache_dir

NOW = 1_700_000_000_000_000_000
OLD = NOW - SETTLED - 1
DIGEST = b"\x07" * 32
NODE = SourceNode("a.py", "file", 0o644, 10, OLD, OLD, 42)


def digest(index: StatIndex, name: str, node: SourceNode) -> bytes | None:
    """Return what *index* says of the file at *name*, the only one of its directory."""
    directory, _, name = name.rpartition("/")
    return index.digests(directory, [node._replace(name=name)])[0]


def saved(root: str, *nodes: tuple[str, SourceNode], now: int = NOW) -> StatIndex:
    """Put *nodes* into the index of *root*, save, and load what was saved."""
    index = StatIndex({}, root, now=now)
    for path, node in nodes:
        directory, _, name = path.rpartition("/")
        index.put(directory, node._replace(name=name), DIGEST)
    index.save()
    return StatIndex.load(root)


def test_an_unchanged_file_has_a_digest_in_the_index() -> None:
    index = saved("/w", ("a.py", NODE))
    assert digest(index, "a.py", NODE) == DIGEST
    assert digest(index, "b.py", NODE) is None


@pytest.mark.parametrize(
    "change",
    [{"size": 11}, {"mtime": OLD - 1}, {"ctime": OLD - 1}, {"inode": 43}, {"mode": 0o755}],
    ids=lambda change: next(iter(change)),
)
def test_a_file_with_any_other_stat_value_is_read_again(change: dict[str, int]) -> None:
    index = saved("/w", ("a.py", NODE))
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
def test_a_file_is_put_into_the_index_only_if_its_times_are_settled(key: str, time: int, known: bool) -> None:
    node = NODE._replace(**{key: time})
    assert (digest(saved("/w", ("a.py", node)), "a.py", node) is not None) is known


@pytest.mark.parametrize("mtime", [-1, -(1 << 70)])
def test_a_time_before_1970_is_read_again_and_breaks_nothing(mtime: int) -> None:
    node = NODE._replace(mtime=mtime)
    assert digest(saved("/w", ("a.py", node)), "a.py", node) is None


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


def scanned(root: str, tree: dict[str, list[SourceNode]]) -> list[tuple[str, SourceNode]]:
    """Scan *tree* with the index of *root*: check what it says, and return the files that had to be read."""
    index = StatIndex.load(root)
    read = []
    for directory, nodes in tree.items():
        for node, known in zip(nodes, index.digests(directory, nodes), strict=True):
            if known is None:
                read.append((directory, node))
                index.put(directory, node, digest_of(directory, node))
            else:
                assert known == digest_of(directory, node)
    index.save()
    return read


@given(_trees)
def test_an_index_is_loaded_as_it_was_saved(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, list[SourceNode]]
) -> None:
    root = str(tmp_path_factory.mktemp("root"))
    assert len(scanned(root, tree)) == sum(map(len, tree.values()))
    assert scanned(root, tree) == []


@given(_trees, _trees, st.data())
def test_after_any_change_only_changed_files_are_read(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[str, list[SourceNode]],
    other: dict[str, list[SourceNode]],
    data: st.DataObject,
) -> None:
    root = str(tmp_path_factory.mktemp("root"))
    scanned(root, before)
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
    assert scanned(root, after) == changed
    assert scanned(root, after) == []


@pytest.mark.parametrize("key", ["mtime", "size"])
def test_a_value_that_the_index_cannot_hold_affects_only_its_file(key: str) -> None:
    odd = NODE._replace(name="odd", **{key: 1 << 70})
    index = saved("/w", ("a.py", NODE))
    assert index.digests("", [NODE, odd]) == [DIGEST, None]
    index.save()
    assert StatIndex.load("/w").digests("", [NODE]) == [DIGEST]


def test_names_that_are_not_utf_8_are_in_the_index() -> None:
    name = os.fsdecode(b"caf\xe9 \n")
    assert digest(saved("/w", (name, NODE), ("other", NODE)), name, NODE) == DIGEST


def test_an_index_that_is_absent_or_damaged_counts_as_empty() -> None:
    assert digest(StatIndex.load("/w"), "a.py", NODE) is None
    saved("/w", ("a.py", NODE))
    (file,) = cache_dir("index").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert digest(StatIndex.load("/w"), "a.py", NODE) is None


def test_a_deleted_file_is_removed_from_the_index() -> None:
    index = saved("/w", ("a.py", NODE), ("b.py", NODE))
    digest(index, "a.py", NODE)
    index.save()
    assert digest(StatIndex.load("/w"), "b.py", NODE) is None
    assert digest(StatIndex.load("/w"), "a.py", NODE) == DIGEST


def test_an_index_that_did_not_change_is_not_written() -> None:
    index = saved("/w", ("a.py", NODE))
    digest(index, "a.py", NODE)
    (file,) = cache_dir("index").iterdir()
    file.unlink()
    index.save()
    assert not file.exists()


def test_an_index_that_cannot_be_written_is_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    cache_dir().parent.mkdir(parents=True)
    cache_dir().touch()
    saved("/w", ("a.py", NODE))
    assert "working without a cache" in caplog.text
