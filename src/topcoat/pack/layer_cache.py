"""What is remembered of packed chunks: their layers, and the entries they hold.

A chunk's key names everything that decides its layer, so a record is never wrong; at worst it is gone.
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
from topcoat.state import cache_dir, write_atomic

_MAGIC = b"topcoat chunk 1\n"
_LAYER = struct.Struct("<32s32sQI")
_ENTRY = struct.Struct("<HcIQHq")
_EARLIEST, _LATEST = -(1 << 63), (1 << 63) - 1
_OWNER = struct.Struct("<II")
_KINDS = {letter: kind for kind, letter in LETTERS.items()}
# An entry with an owner of its own has its letter in upper case, and the owner behind the fixed part.
_OWNED = {letter.upper(): kind for letter, kind in _KINDS.items()}


class CachedLayer(NamedTuple):
    """A chunk as it was packed, and the layer that came of it."""

    layer: Layer
    group: EntryGroup


class LayerCache:
    """Layers by the key of their chunk, one file each."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or cache_dir("code-layers")

    def get_layer(self, key: str) -> Layer | None:
        """Return the layer of the chunk with this key, if it was ever packed here."""
        try:
            with (self._directory / key).open("rb") as file:
                head = file.read(len(_MAGIC) + _LAYER.size)
        except OSError:
            return None
        return _layer(head)

    def get(self, key: str) -> CachedLayer | None:
        """Return layer and entries of the chunk with this key."""
        try:
            data = (self._directory / key).read_bytes()
        except OSError:
            return None
        layer = _layer(data)
        if layer is None:
            return None
        *_, ancestors = _LAYER.unpack_from(data, len(_MAGIC))
        try:
            entries = read_entries(data[len(_MAGIC) + _LAYER.size :])
        except ValueError:
            return None
        return CachedLayer(layer, EntryGroup(entries[ancestors:], entries[:ancestors]))

    def put(self, key: str, chunk: EntryGroup, layer: Layer) -> None:
        """Note that *chunk*, whose key this is, was packed as *layer*.

        Raises:
            StateError: the note cannot be written.
        """
        fixed = _LAYER.pack(
            bytes.fromhex(layer.diff_id[7:]),
            bytes.fromhex(layer.digest[7:]),
            layer.size,
            len(chunk.ancestors),
        )
        write_entries(self._directory / key, _MAGIC + fixed, chunk.ancestors + chunk.members)


def write_entries(path: Path, head: bytes, entries: Iterable[Entry]) -> None:
    """Write *head* and then *entries* to *path*, in a form that `read_entries` reads.

    Raises:
        StateError: the file cannot be written.
    """
    body = b"".join([_bytes(entry) for entry in entries])
    write_atomic(path, head + hashlib.sha256(body).digest() + body)


def read_entries(data: bytes) -> tuple[Entry, ...]:
    """Read entries back.

    Raises:
        ValueError: the data is cut short or damaged.
    """
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


def _layer(data: bytes) -> Layer | None:
    if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + _LAYER.size:
        return None
    diff_id, digest, size, _ = _LAYER.unpack_from(data, len(_MAGIC))
    return Layer(f"sha256:{diff_id.hex()}", f"sha256:{digest.hex()}", size)


def _bytes(entry: Entry) -> bytes:
    path, kind, mode, size, content, mtime, owner = entry
    # Some file systems keep dates that nanoseconds in 64 bits cannot; such a file counts as changed, at worst.
    mtime = min(max(mtime, _EARLIEST), _LATEST)
    if owner is None:
        return _ENTRY.pack(len(path), LETTERS[kind], mode, size, len(content), mtime) + path + content
    letter = LETTERS[kind].upper()
    return _ENTRY.pack(len(path), letter, mode, size, len(content), mtime) + _OWNER.pack(*owner) + path + content
