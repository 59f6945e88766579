"""The cache of packed code layers: their digests and their entries.

A key covers everything that the bytes of a layer depend on, so a record is never wrong; at worst it is missing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import Layer
from topcoat.records import Cache
from topcoat.scan.snapshot import LETTERS, Entry

_CACHE = Cache("code-layers", 2)
_LAYER = struct.Struct("<32s32sQI")
_ENTRY = struct.Struct("<HcIQHq")
_MIN_MTIME, _MAX_MTIME = -(1 << 63), (1 << 63) - 1
_OWNER = struct.Struct("<II")
_KINDS = {letter: kind for kind, letter in LETTERS.items()}
# The letter of an entry with its own owner is in upper case, and the owner follows the fixed part.
_OWNED = {letter.upper(): kind for letter, kind in _KINDS.items()}


class CachedLayer(NamedTuple):
    """A packed layer and its entries."""

    layer: Layer
    group: EntryGroup


class LayerCache:
    """Layers by the key of their entry group."""

    def get_layer(self, key: str) -> Layer | None:
        """Return the layer with this key, None if it was never packed on this machine."""
        return _CACHE.read(key, _parse_layer)

    def get(self, key: str) -> CachedLayer | None:
        """Return the layer with this key and its entries."""
        return _CACHE.read(key, _parse)

    def put(self, key: str, group: EntryGroup, layer: Layer) -> None:
        """Record that *group*, which has this key, was packed as *layer*."""
        digests = bytes.fromhex(layer.diff_id[7:]), bytes.fromhex(layer.digest[7:])
        head = _LAYER.pack(*digests, layer.size, len(group.ancestors))
        _CACHE.write(key, head + format_entries(group.ancestors + group.members))


def _parse(body: bytes) -> CachedLayer:
    *_, ancestors = _LAYER.unpack_from(body)
    entries = parse_entries(body[_LAYER.size :])
    return CachedLayer(_parse_layer(body), EntryGroup(entries[ancestors:], entries[:ancestors]))


def _parse_layer(body: bytes) -> Layer:
    diff_id, digest, size, _ = _LAYER.unpack_from(body)
    return Layer(f"sha256:{diff_id.hex()}", f"sha256:{digest.hex()}", size)


def format_entries(entries: Iterable[Entry]) -> bytes:
    """Return *entries* as bytes, for a cache."""
    return b"".join([_format(entry) for entry in entries])


def parse_entries(body: bytes) -> tuple[Entry, ...]:
    """Read back what `format_entries` wrote."""
    entries = []
    position = 0
    while position < len(body):
        path, letter, mode, size, content, mtime = _ENTRY.unpack_from(body, position)
        position += _ENTRY.size
        owner = None
        if letter in _OWNED:
            owner = _OWNER.unpack_from(body, position)
            position += _OWNER.size
        name = body[position : position + path]
        position += path
        kind = _OWNED[letter] if owner else _KINDS[letter]
        entries.append(Entry(name, kind, mode, size, body[position : position + content], mtime, owner))
        position += content
    return tuple(entries)


def _format(entry: Entry) -> bytes:
    path, kind, mode, size, content, mtime, owner = entry
    # Some file systems keep dates that do not fit into nanoseconds of 64 bits; such a file counts as changed, at worst.
    mtime = min(max(mtime, _MIN_MTIME), _MAX_MTIME)
    letter, owned = (LETTERS[kind], b"") if owner is None else (LETTERS[kind].upper(), _OWNER.pack(*owner))
    return _ENTRY.pack(len(path), letter, mode, size, len(content), mtime) + owned + path + content
