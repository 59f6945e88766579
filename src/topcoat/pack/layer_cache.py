"""The cache of packed code layers: their digests and their entries.

A key covers everything that the bytes of a layer depend on, so a record is never wrong; at worst it is missing.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import Layer
from topcoat.scan.snapshot import LETTERS, Entry
from topcoat.state import cache_dir, write_cache

_MAGIC = b"topcoat layer 1\n"
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
    """Layers by the key of their entry group, one file each."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or cache_dir("code-layers")

    def get_layer(self, key: str) -> Layer | None:
        """Return the layer with this key, None if it was never packed on this machine."""
        try:
            with (self._directory / key).open("rb") as file:
                head = file.read(len(_MAGIC) + _LAYER.size)
        except OSError:
            return None
        return _read_layer(head)

    def get(self, key: str) -> CachedLayer | None:
        """Return the layer with this key and its entries."""
        try:
            data = (self._directory / key).read_bytes()
        except OSError:
            return None
        layer = _read_layer(data)
        if layer is None:
            return None
        *_, ancestors = _LAYER.unpack_from(data, len(_MAGIC))
        try:
            entries = read_entries(data[len(_MAGIC) + _LAYER.size :])
        except ValueError:
            return None
        return CachedLayer(layer, EntryGroup(entries[ancestors:], entries[:ancestors]))

    def put(self, key: str, group: EntryGroup, layer: Layer) -> None:
        """Record that *group*, which has this key, was packed as *layer*."""
        digests = bytes.fromhex(layer.diff_id[7:]), bytes.fromhex(layer.digest[7:])
        fixed = _LAYER.pack(*digests, layer.size, len(group.ancestors))
        write_entries(self._directory / key, _MAGIC + fixed, group.ancestors + group.members)


def write_entries(path: Path, head: bytes, entries: Iterable[Entry]) -> None:
    """Write *head* and then *entries* to *path*, a file of the cache, in the format that `read_entries` reads."""
    body = b"".join([_format(entry) for entry in entries])
    write_cache(path, head + hashlib.sha256(body).digest() + body)


def read_entries(data: bytes) -> tuple[Entry, ...]:
    """Read entries back; raise ``ValueError`` if the data is truncated or damaged."""
    body = data[32:]
    if hashlib.sha256(body).digest() != data[:32]:
        raise ValueError("damaged entries")
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


def _read_layer(data: bytes) -> Layer | None:
    if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + _LAYER.size:
        return None
    diff_id, digest, size, _ = _LAYER.unpack_from(data, len(_MAGIC))
    return Layer(f"sha256:{diff_id.hex()}", f"sha256:{digest.hex()}", size)


def _format(entry: Entry) -> bytes:
    path, kind, mode, size, content, mtime, owner = entry
    # Some file systems keep dates that do not fit into nanoseconds of 64 bits; such a file counts as changed, at worst.
    mtime = min(max(mtime, _MIN_MTIME), _MAX_MTIME)
    letter, owned = (LETTERS[kind], b"") if owner is None else (LETTERS[kind].upper(), _OWNER.pack(*owner))
    return _ENTRY.pack(len(path), letter, mode, size, len(content), mtime) + owned + path + content
