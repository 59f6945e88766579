"""A record of a packed layer is right or missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scan.strategies import trees
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import Layer
from topcoat.pack.layer_cache import CachedLayer, LayerCache, format_entries, parse_entries
from topcoat.scan.snapshot import Entry
from topcoat.state import cache_dir

LAYER = Layer("sha256:" + "1a" * 32, "sha256:" + "2b" * 32, 1 << 40)
DIRECTORY = Entry(b"d", "dir", 0o755, 0, b"", 0)
FILE = Entry(b"d/f", "file", 0o644, 5, b"\x07" * 32, -1)
GROUP = EntryGroup((FILE,), (DIRECTORY,))
KEY = "0" * 64


@given(trees, st.integers(0, 5))
def test_a_layer_is_read_back_as_it_was_put(tree: dict[bytes, Entry], above: int) -> None:
    cache = LayerCache()
    entries = tuple(tree.values())
    group = EntryGroup(entries[above:], entries[:above])
    cache.put(KEY, group, LAYER)
    assert cache.get(KEY) == CachedLayer(LAYER, group)
    assert cache.get_layer(KEY) == LAYER


def test_a_key_that_was_never_put_is_missing() -> None:
    cache = LayerCache()
    assert cache.get_layer(KEY) is None
    assert cache.get(KEY) is None
    cache.put(KEY, GROUP, LAYER)
    assert cache.get_layer("1" * 64) is None


def test_the_layer_that_was_put_last_wins() -> None:
    cache = LayerCache()
    cache.put(KEY, GROUP, LAYER)
    cache.put(KEY, GROUP, LAYER._replace(size=7))
    assert cache.get_layer(KEY) == LAYER._replace(size=7)


@pytest.mark.parametrize("at", [16, 60, 100, -1])
def test_a_record_with_a_flipped_bit_counts_as_missing(at: int) -> None:
    cache = LayerCache()
    cache.put(KEY, GROUP, LAYER)
    (file,) = cache_dir("code-layers").iterdir()
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    assert cache.get(KEY) is None
    assert cache.get_layer(KEY) is None


@pytest.mark.parametrize("mtime", [1 << 80, -(1 << 80)])
def test_an_mtime_beyond_64_bits_does_not_break_the_record(mtime: int) -> None:
    cache = LayerCache()
    cache.put(KEY, EntryGroup((FILE._replace(mtime=mtime),), ()), LAYER)
    cached = cache.get(KEY)
    assert cached is not None
    assert cached.group.members[0].facts() == FILE.facts()


@given(trees)
def test_entries_are_read_back_as_they_were_written(tree: dict[bytes, Entry]) -> None:
    assert parse_entries(format_entries(tree.values())) == tuple(tree.values())
