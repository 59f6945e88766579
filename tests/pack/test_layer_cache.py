"""A record of a packed layer is right or missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scan.strategies import trees
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import Layer
from topcoat.pack.layer_cache import CachedLayer, LayerCache, read_entries, write_entries
from topcoat.scan.snapshot import Entry

LAYER = Layer("sha256:" + "1a" * 32, "sha256:" + "2b" * 32, 1 << 40)
DIRECTORY = Entry(b"d", "dir", 0o755, 0, b"", 0)
FILE = Entry(b"d/f", "file", 0o644, 5, b"\x07" * 32, -1)
GROUP = EntryGroup((FILE,), (DIRECTORY,))
KEY = "0" * 64


@given(trees, st.integers(0, 5))
def test_a_layer_is_read_back_as_it_was_put(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, Entry], above: int
) -> None:
    cache = LayerCache(tmp_path_factory.mktemp("layers"))
    entries = tuple(tree.values())
    group = EntryGroup(entries[above:], entries[:above])
    cache.put(KEY, group, LAYER)
    assert cache.get(KEY) == CachedLayer(LAYER, group)
    assert cache.get_layer(KEY) == LAYER


def test_a_key_that_was_never_put_is_missing(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path)
    assert cache.get_layer(KEY) is None
    assert cache.get(KEY) is None
    cache.put(KEY, GROUP, LAYER)
    assert cache.get_layer("1" * 64) is None


def test_the_layer_that_was_put_last_wins(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path)
    cache.put(KEY, GROUP, LAYER)
    cache.put(KEY, GROUP, LAYER._replace(size=7))
    assert cache.get_layer(KEY) == LAYER._replace(size=7)


@given(st.data())
def test_a_damaged_record_counts_as_missing(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("layers")
    cache = LayerCache(directory)
    cache.put(KEY, GROUP, LAYER)
    good = (directory / KEY).read_bytes()
    (directory / KEY).write_bytes(good[: data.draw(st.integers(0, len(good) - 1))])
    assert cache.get(KEY) is None
    body = good.index(b"d/f")
    at = data.draw(st.integers(body, len(good) - 1))
    (directory / KEY).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    assert cache.get(KEY) is None
    (directory / KEY).write_bytes(b"topcoat layer 0\n" + good[16:])
    assert cache.get(KEY) is None
    assert cache.get_layer(KEY) is None


@pytest.mark.parametrize("mtime", [1 << 80, -(1 << 80)])
def test_an_mtime_beyond_64_bits_does_not_break_the_record(tmp_path: Path, mtime: int) -> None:
    cache = LayerCache(tmp_path)
    cache.put(KEY, EntryGroup((FILE._replace(mtime=mtime),), ()), LAYER)
    cached = cache.get(KEY)
    assert cached is not None
    assert cached.group.members[0].facts() == FILE.facts()


def test_a_record_that_cannot_be_written_is_a_notice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    LayerCache(tmp_path / "file").put(KEY, GROUP, LAYER)
    assert "working without a cache" in caplog.text


def test_the_default_directory_is_in_the_cache(home: Path) -> None:
    LayerCache().put(KEY, GROUP, LAYER)
    assert (home / ".cache/topcoat/code-layers" / KEY).is_file()


@given(trees, st.binary(max_size=20))
def test_entries_are_read_back_after_any_head(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, Entry], head: bytes
) -> None:
    path = tmp_path_factory.mktemp("entries") / "file"
    write_entries(path, head, tree.values())
    data = path.read_bytes()
    assert data.startswith(head)
    assert read_entries(data[len(head) :]) == tuple(tree.values())
    with pytest.raises(ValueError, match="damaged"):
        read_entries(data[len(head) :] + b"x")
