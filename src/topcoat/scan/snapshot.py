"""Entries and snapshots: the files that a job gets, as frozen values with one identity."""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Literal, NamedTuple

Kind = Literal["file", "dir", "link"]

_OWNER = struct.Struct(">QII").pack
LETTERS: dict[Kind, bytes] = {"file": b"f", "dir": b"d", "link": b"l"}


class Entry(NamedTuple):
    """One path of a snapshot.

    Attributes:
        path: relative to the remote root, ``/``-separated, as bytes, so that any name works.
        kind: regular file, directory or symbolic link.
        mode: permission bits as the job sees them.
        size: bytes of content; 0 for directories and links.
        content: raw SHA-256 of a file's content, or a link's target; empty for a directory.
        mtime: nanoseconds since the epoch; part of the identity only if the snapshot preserves mtimes.
        owner: numeric owner and group; None for the snapshot's.
    """

    path: bytes
    kind: Kind
    mode: int
    size: int
    content: bytes
    mtime: int
    owner: tuple[int, int] | None = None

    def facts(self, *, preserve_mtimes: bool = False) -> tuple[object, ...]:
        """Return the parts of the entry that count for its identity, the mtime only with *preserve_mtimes*."""
        path, kind, mode, size, content, mtime, owner = self
        return path, kind, mode, size, content, owner, mtime if preserve_mtimes else None


def identify(entries: Sequence[Entry], *, preserve_mtimes: bool) -> bytes:
    """Return the identity of *entries* as bytes that could be parsed, so that no two lists collide.

    The format is by column, which takes a third of the time of a record for each entry: number of entries; lengths of
    the paths; kinds, modes, sizes; lengths of the contents; positions and owners of the entries that have an owner;
    whether mtimes follow; paths and contents; mtimes.
    """
    count = len(entries)
    paths, kinds, modes, sizes, contents, mtimes, owners = zip(*entries, strict=True) if entries else [()] * 7
    owned = [(at, *owner) for at, owner in enumerate(owners) if owner is not None] if any(owners) else []
    lengths = [*map(len, paths)], [*map(len, contents)]
    return b"".join(
        [
            struct.pack(f">Q{count}I", count, *lengths[0]),
            b"".join([LETTERS[kind] for kind in kinds]),
            struct.pack(f">{count}I{count}Q{count}I", *modes, *sizes, *lengths[1]),
            struct.pack(">Q", len(owned)),
            *[_OWNER(*item) for item in owned],
            b"@" if preserve_mtimes else b"-",
            *paths,
            *contents,
            # In decimal, because some file systems keep dates that do not fit into nanoseconds of 64 bits.
            *([b"%d\n" % mtime for mtime in mtimes] if preserve_mtimes else ()),
        ]
    )


class Snapshot:
    """The sorted, frozen entries that a job gets; ``digest`` is their identity.

    Entries always have their mtimes; these are part of the identity only with *preserve_mtimes*.
    """

    __slots__ = ("_digest", "entries", "preserve_mtimes")

    def __init__(self, entries: Iterable[Entry], *, preserve_mtimes: bool = False) -> None:
        self.entries = tuple(sorted(entries))
        self.preserve_mtimes = preserve_mtimes
        self._digest = ""

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 hex digits, over the identity of all entries."""
        if not self._digest:
            found = hashlib.sha256(b"topcoat-snapshot-2\n")
            found.update(identify(self.entries, preserve_mtimes=self.preserve_mtimes))
            self._digest = f"sha256:{found.hexdigest()}"
        return self._digest

    def find(self, path: bytes) -> Entry | None:
        """Return the entry at *path*, None if the path is not in the snapshot."""
        at = bisect_left(self.entries, path, key=itemgetter(0))
        return self.entries[at] if at < len(self.entries) and self.entries[at].path == path else None

    def has_directory(self, path: bytes) -> bool:
        """Tell whether *path* is a directory."""
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
