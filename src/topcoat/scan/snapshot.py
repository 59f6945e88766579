"""Entries and snapshots: what a job would get, as frozen values with one identity."""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Literal, NamedTuple

Kind = Literal["file", "dir", "link"]

# The lengths of path and content, so that no two entries run into the same bytes.
_HEAD = struct.Struct(">IcIQI").pack
LETTERS: dict[Kind, bytes] = {"file": b"f", "dir": b"d", "link": b"l"}


class Entry(NamedTuple):
    """One path of a snapshot.

    Attributes:
        path: relative to the remote root, ``/``-separated, as bytes: any name works.
        kind: regular file, directory or symbolic link.
        mode: permission bits as the job will see them.
        size: bytes of content; 0 for directories and links.
        content: raw SHA-256 of a file's content, a link's target, nothing for a directory.
        mtime: nanoseconds since the epoch; part of the identity only where a snapshot preserves times.
    """

    path: bytes
    kind: Kind
    mode: int
    size: int
    content: bytes
    mtime: int

    def record(self, *, times: bool = False) -> bytes:
        """Return the entry as length-prefixed bytes; two entries differ exactly when their records do."""
        path, kind, mode, size, content, mtime = self
        record = _HEAD(len(path), LETTERS[kind], mode, size, len(content)) + path + content
        return record + b"@%d\n" % mtime if times else record


class Snapshot:
    """The sorted, frozen entries that a job would get; ``digest`` is their identity.

    A snapshot keeps modification times as facts, and counts them in its identity only when *times* is set.
    """

    __slots__ = ("_digest", "_records", "entries", "times")

    def __init__(self, entries: Iterable[Entry], *, times: bool = False) -> None:
        self.entries = tuple(sorted(entries))
        self.times = times
        self._records: tuple[bytes, ...] | None = None
        self._digest = ""

    @property
    def records(self) -> tuple[bytes, ...]:
        """The entries' records, in the order of the entries."""
        if self._records is None:
            times = self.times
            self._records = tuple([entry.record(times=times) for entry in self.entries])
        return self._records

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 hex digits over all records."""
        if not self._digest:
            records = hashlib.sha256(b"topcoat-snapshot-1\n")
            records.update(b"".join(self.records))
            self._digest = f"sha256:{records.hexdigest()}"
        return self._digest

    def find(self, path: bytes) -> Entry | None:
        """Return the entry at *path*, None where there is none."""
        at = bisect_left(self.entries, path, key=itemgetter(0))
        return self.entries[at] if at < len(self.entries) and self.entries[at].path == path else None

    def has_directory(self, path: bytes) -> bool:
        """Tell whether there is a directory at *path*."""
        found = self.find(path)
        return found is not None and found.kind == "dir"

    @property
    def size(self) -> int:
        """Bytes of content of all regular files."""
        return sum([entry.size for entry in self.entries])

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Snapshot({len(self.entries)} entries, {self.digest[:19]})"
