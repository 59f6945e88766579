"""The stat index: remembered stat data and content digests, so that an unchanged file is not read again.

A file is taken as unchanged when its inode, size, mode, mtime and ctime are what they were. That is right only when
the file system's clock has moved on since the file was read: an edit in the same tick leaves every one of them as it
was. So a file whose times are younger than `SETTLED` before the scan began, or lie in the future, is not remembered
and is read again the next time.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from topcoat.scan.tree import Node
from topcoat.state import write_atomic

# The coarsest clock of a file system in use is FAT's, with two seconds.
SETTLED = 2_000_000_000

_MAGIC = b"topcoat stat index 1\n"
_RECORD = struct.Struct("<IqqqQ32s")

# What a file looked like when its content was read: `Node.stat`, and the raw SHA-256 of that content.
# A plain tuple, for thousands of these are read and compared at each start.
Record = tuple[int, int, int, int, int, bytes]


class StatIndex:
    """Look-up from a path to what was seen there last; collects what the scan at hand sees."""

    def __init__(self, known: dict[str, Record], *, now: int | None = None) -> None:
        self._known = known
        self._seen: dict[str, Record] = {}
        self._horizon = (time.time_ns() if now is None else now) - SETTLED
        self._changed = False

    @classmethod
    def load(cls, path: Path) -> StatIndex:
        """Read the index at *path*; one that is absent, cut short or of another version counts as empty."""
        try:
            data = path.read_bytes()
        except OSError:
            return cls({})
        return cls(_parse(data))

    def digest(self, path: str, node: Node) -> bytes | None:
        """Return the digest of the unchanged file at *path*, or None when it has to be read."""
        record = self._known.get(path)
        if record is None or record[:5] != node.stat:
            return None
        self._seen[path] = record
        return record[5]

    def remember(self, path: str, node: Node, digest: bytes) -> None:
        """Note that the content of the file at *path*, as listed in *node*, has this digest."""
        if 0 <= node.mtime < self._horizon and node.ctime < self._horizon:
            self._seen[path] = (*node.stat, digest)
            self._changed = True

    def save(self, path: Path) -> None:
        """Write what this scan saw, unless that is what the file holds already.

        Raises:
            StateError: the file cannot be written.
        """
        if self._changed or len(self._seen) != len(self._known):
            write_atomic(path, _format(self._seen.items()))


def _format(items: Iterable[tuple[str, Record]]) -> bytes:
    names: list[bytes] = []
    records: list[bytes] = []
    for name, record in items:
        names.append(os.fsencode(name))
        records.append(_RECORD.pack(*record))
    # No file name holds a NUL byte.
    body = struct.pack("<Q", len(names)) + b"".join(records) + b"\0".join(names)
    return _MAGIC + hashlib.sha256(body).digest() + body


def _parse(data: bytes) -> dict[str, Record]:
    body = data[len(_MAGIC) + 32 :]
    if not data.startswith(_MAGIC) or data[len(_MAGIC) : len(_MAGIC) + 32] != hashlib.sha256(body).digest():
        return {}
    (count,) = struct.unpack_from("<Q", body)
    if not count:
        return {}
    split = 8 + count * _RECORD.size
    names = os.fsdecode(body[split:]).split("\0")
    return dict(zip(names, _RECORD.iter_unpack(body[8:split]), strict=True))
