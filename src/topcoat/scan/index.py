"""The stat index: a cache of stat data and content digests, so that an unchanged file is not read again.

A file counts as unchanged if its inode, size, mode, mtime and ctime are the same. That is right only if the file
system's clock has advanced since the file was read: an edit in the same tick changes none of them. So a file whose
times were not settled when the scan began (see `clock`), or are in the future, is not put into the index and is read
again next time. So is a file of the last minute that a program has open for writing: mmap may change no time.

The index has one byte string for each directory: an unchanged directory takes one comparison, and is neither read nor
written file by file.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import NamedTuple

from topcoat.records import Cache, format_map, parse_map
from topcoat.scan.clock import settling_time
from topcoat.scan.names import decode, encode
from topcoat.scan.tree import SourceNode

_CACHE = Cache("index", 3)
_COUNT = struct.Struct("<I")
_STAT = "IqqqQ"
_STAT_SIZE = struct.calcsize(f"<{_STAT}")
_DIGEST = 32
_NAME = itemgetter(0)

Stat = tuple[int, int, int, int, int]
"""As `SourceNode.stat`."""


class Record(NamedTuple):
    """The stat data of a file when its content was read, and the raw SHA-256 of the content."""

    stat: Stat
    digest: bytes


class StatIndex:
    """Look up the records of the last scan, and collect those of the current scan."""

    def __init__(self, known: Mapping[str, bytes], root: str = "", *, now: int | None = None) -> None:
        """Look up in *known*, which maps a directory's path below *root* to its files as `_pack` writes them."""
        self._known = known
        self._unchanged: dict[str, bytes] = {}
        self._changed: dict[str, dict[str, Record]] = {}
        self._root = root
        self._began = time.time_ns() if now is None else now

    @cached_property
    def _horizon(self) -> int:
        # Computed only if a file was read; most scans read none.
        return self._began - settling_time(self._root)

    @classmethod
    def load(cls, root: str) -> StatIndex:
        """Read the index of the directory *root*; one that is missing or damaged counts as empty."""
        packed_files = _CACHE.read(root, parse_map) or {}
        return cls({decode(directory): packed for directory, packed in packed_files.items()}, root)

    def __len__(self) -> int:
        """Return the number of files of the last scan."""
        return sum([_COUNT.unpack_from(packed)[0] for packed in self._known.values()])

    @property
    def directories(self) -> list[str]:
        """The directories of the last scan that had files, in the order of the scan."""
        return [*self._known]

    def digests(self, directory: str, files: Sequence[SourceNode]) -> Sequence[bytes | None]:
        """Return the digest of each of *files*, all files of *directory* sorted by name; None for a file to read."""
        known = self._known.get(directory)
        if known is None:
            return [None] * len(files)
        head = _head(files)
        if head and len(known) == len(head) + _DIGEST * len(files) and known.startswith(head):
            self._unchanged[directory] = known
            return [known[at : at + _DIGEST] for at in range(len(head), len(known), _DIGEST)]
        records = _unpack(known)
        found: list[bytes | None] = []
        for node in files:
            record = records.get(node.name)
            if record is not None and record.stat == node.stat:
                self._changed.setdefault(directory, {})[node.name] = record
                found.append(record.digest)
            else:
                found.append(None)
        return found

    def put(self, directory: str, node: SourceNode, digest: bytes) -> None:
        """Record that the content of the file that was listed in *directory* as *node* has this digest."""
        if 0 <= node.mtime < self._horizon and 0 <= node.ctime < self._horizon:
            self._changed.setdefault(directory, {})[node.name] = Record(node.stat, digest)

    def save(self) -> None:
        """Write the records of this scan, unless they are the same as those of the last one."""
        seen = {**self._unchanged, **{directory: _pack(records) for directory, records in self._changed.items()}}
        if seen != self._known:
            _CACHE.write(self._root, format_map({encode(directory): packed for directory, packed in seen.items()}))


def drop_if_wrong(root: str, directory: str, node: SourceNode, content: bytes) -> bool:
    """Drop the index of *root* if it says that the file *node* of *directory* has *content*, which is wrong.

    Then stat data does not show when files of *root* change, and other records may be wrong too.
    """
    if StatIndex.load(root).digests(directory, [node]) != [content]:
        return False
    _CACHE.drop(root)
    return True


def _head(files: Sequence[SourceNode]) -> bytes:
    """Return the part before the digests of *files*; no bytes if a value is out of bounds."""
    values: list[int] = []
    for node in files:
        values += node[2:7]
    try:
        stats = _packer(len(files))(*values)
    except struct.error:
        return b""
    # No file name holds a NUL byte.
    return _COUNT.pack(len(files)) + stats + encode("\0".join([node.name for node in files]))


@lru_cache(maxsize=256)
def _packer(count: int) -> Callable[..., bytes]:
    return struct.Struct("<" + _STAT * count).pack


def _pack(records: Mapping[str, Record]) -> bytes:
    """Return the records of a directory as bytes: number of files, stat data, names and digests, sorted by name."""
    items = sorted(records.items(), key=_NAME)
    stats = b"".join([_packer(1)(*record.stat) for _, record in items])
    names = encode("\0".join([name for name, _ in items]))
    return b"".join([_COUNT.pack(len(items)), stats, names, *[record.digest for _, record in items]])


def _unpack(packed: bytes) -> dict[str, Record]:
    (count,) = _COUNT.unpack_from(packed)
    names_at = _COUNT.size + count * _STAT_SIZE
    digests_at = len(packed) - count * _DIGEST
    stats = struct.iter_unpack(f"<{_STAT}", packed[_COUNT.size : names_at])
    digests = [packed[at : at + _DIGEST] for at in range(digests_at, len(packed), _DIGEST)]
    names = decode(packed[names_at:digests_at]).split("\0")
    return dict(zip(names, map(Record, stats, digests), strict=True))
