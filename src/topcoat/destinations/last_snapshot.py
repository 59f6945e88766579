"""An earlier snapshot of a workspace: the next one takes its unchanged files from there.

Its entries are kept in the cache by column, which is read and written in a fifth of the time of a record for each.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice, pairwise
from typing import NamedTuple

from topcoat.records import Cache
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.snapshot import LETTERS, Entry

_RECORDS = Cache("jobdirs", 3)
_LENGTHS = struct.Struct("<QQ")
_KINDS = {letter[0]: kind for kind, letter in LETTERS.items()}
_MIN_MTIME, _MAX_MTIME = -(1 << 63), (1 << 63) - 1
_BLOCK = 1 << 20
_MAX_JOBS = 10_000


class LastSnapshot(NamedTuple):
    """A directory that holds a snapshot.

    Attributes:
        directory: its path.
        entries: what was delivered there, by path, as tuples that compare with entries; None if it is not known.
    """

    directory: str
    entries: Mapping[bytes, tuple[object, ...]] | None

    @classmethod
    def read(cls, *key: str) -> LastSnapshot | None:
        """Return the snapshot that was recorded under *key*, None without a valid record."""
        return _RECORDS.read("\0".join(key), _parse)

    @classmethod
    def find_beside(cls, directory: str) -> LastSnapshot | None:
        """Return the newest job directory beside *directory*, or of another job in the same layout.

        ``jobs/2`` finds ``jobs/1``; ``jobs/2/code`` finds ``jobs/1/code``.
        """
        parent, name = os.path.split(directory)
        jobs, job = os.path.split(parent)
        beside = [f"{parent}/{other}" for other in _visible(parent) if other != name]
        beside += [f"{jobs}/{other}/{name}" for other in _visible(jobs) if other != job]
        found = []
        for path in beside:
            with contextlib.suppress(OSError):
                found.append((os.stat(f"{path}/{MARKER}").st_mtime_ns, path))
        return cls(max(found)[1], None) if found else None

    def has(self, entry: Entry, path: str) -> bool:
        """Tell whether *path* in the directory is still what *entry* says: a job may have written to it."""
        if self.entries is not None:
            return self.entries.get(entry.path) == entry and is_unchanged(path, entry)
        return is_unchanged(path, entry) and has_content(path, entry)

    @staticmethod
    def write(directory: str, entries: Sequence[Entry], *key: str) -> None:
        """Record that *directory* got *entries*."""
        _RECORDS.write("\0".join(key), _format(directory, entries))


def is_unchanged(path: str, entry: Entry, *, modes: bool = True, content: bool = False) -> bool:
    """Tell from the stat data whether *path* is what was made of *entry*; with *content*, read a file in doubt."""
    try:
        st = os.lstat(path)
        if entry.kind == "dir":
            return stat.S_ISDIR(st.st_mode)
        if entry.kind == "link":
            return stat.S_ISLNK(st.st_mode) and os.fsencode(os.readlink(path)) == entry.content
        if not stat.S_ISREG(st.st_mode) or st.st_size != entry.size or (modes and st.st_mode & 0o7777 != entry.mode):
            return False
        return st.st_mtime_ns == entry.mtime or (content and has_content(path, entry))
    except OSError:
        return False


def has_content(path: str, entry: Entry) -> bool:
    """Tell whether the file at *path* has the content of *entry*, by its digest."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest() == entry.content


def _visible(directory: str) -> list[str]:
    """Return members of *directory*: those with a dot are being filled. Of very many jobs, some are enough."""
    try:
        with os.scandir(directory) as members:
            return [member.name for member in islice(members, _MAX_JOBS) if not member.name.startswith(".")]
    except OSError:
        return []


def _format(directory: str, entries: Sequence[Entry]) -> bytes:
    count, name = len(entries), os.fsencode(directory)
    paths, kinds, modes, sizes, contents, mtimes, _ = zip(*entries, strict=True) if entries else [()] * 7
    # Some file systems keep dates that do not fit into nanoseconds of 64 bits; such a file counts as changed.
    times = [min(max(mtime, _MIN_MTIME), _MAX_MTIME) for mtime in mtimes]
    return b"".join(
        [
            _LENGTHS.pack(count, len(name)),
            name,
            struct.pack(f"<{count}I{count}I", *map(len, paths), *map(len, contents)),
            struct.pack(f"<{count}I{count}Q{count}q", *modes, *sizes, *times),
            b"".join([LETTERS[kind] for kind in kinds]),
            *paths,
            *contents,
        ]
    )


def _parse(body: bytes) -> LastSnapshot:
    count, length = _LENGTHS.unpack_from(body)
    at = _LENGTHS.size + length
    directory = os.fsdecode(body[_LENGTHS.size : at])
    columns = struct.Struct(f"<{count}I{count}I{count}I{count}Q{count}q")
    values = columns.unpack_from(body, at)
    at += columns.size
    lengths, modes, sizes, mtimes = (
        values[: 2 * count],
        values[2 * count : 3 * count],
        values[3 * count : 4 * count],
        values[4 * count :],
    )
    kinds = [_KINDS[letter] for letter in body[at : at + count]]
    parts = [body[start:end] for start, end in pairwise(accumulate(lengths, initial=at + count))]
    fields = zip(parts[:count], kinds, modes, sizes, parts[count:], mtimes, [None] * count, strict=True)
    # Plain tuples: they compare like entries, and are made in a tenth of the time.
    return LastSnapshot(directory, dict(zip(parts, fields, strict=False)))
