"""An earlier snapshot of a workspace: the next one takes its unchanged files from there.

What was delivered is kept in the cache by directory: an unchanged directory takes one comparison.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from topcoat.records import Cache, format_map, parse_map
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.snapshot import Entry

_RECORDS = Cache("jobdirs", 4)
_COUNT = struct.Struct("<I")
_DIGEST = 32
_BLOCK = 1 << 20
_MAX_JOBS = 10_000


class LastSnapshot(NamedTuple):
    """A directory that holds a snapshot.

    Attributes:
        directory: its path.
        files: what was delivered there, as `SnapshotFiles.packed`, by directory; None if it is not known.
    """

    directory: str
    files: Mapping[bytes, bytes] | None

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
        if self.files is not None:
            packed = self.files.get(directory_of(entry), b"")
            return bool(_same_files(packed, [entry])) and is_unchanged(path, entry)
        return is_unchanged(path, entry) and has_content(path, entry)

    def same_files(self, directory: bytes, files: SnapshotFiles) -> list[Entry]:
        """Return the files of *directory* that were delivered as they are now."""
        if self.files is None:
            return []
        packed, current = self.files.get(directory, b""), files.directories[directory]
        return current if packed and packed == files.packed(directory) else _same_files(packed, current)

    @staticmethod
    def write(directory: str, files: SnapshotFiles, *key: str) -> None:
        """Record that *directory* got *files*."""
        packed = {folder: files.packed(folder) for folder in files.directories}
        _RECORDS.write("\0".join(key), b"".join([os.fsencode(directory), b"\0", format_map(packed)]))


def _parse(body: bytes) -> LastSnapshot:
    directory, _, files = body.partition(b"\0")
    return LastSnapshot(os.fsdecode(directory), parse_map(files))


class SnapshotFiles:
    """The files of a snapshot by directory."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Take the files of sorted *entries*."""
        self.directories: dict[bytes, list[Entry]] = {}
        self._packed: dict[bytes, bytes] = {}
        for entry in entries:
            if entry[1] == "file":
                self.directories.setdefault(directory_of(entry), []).append(entry)

    def packed(self, directory: bytes) -> bytes:
        """Return what is known of the files of *directory*; no bytes if a value is out of bounds."""
        if directory not in self._packed:
            self._packed[directory] = _pack(self.directories[directory])
        return self._packed[directory]


def directory_of(entry: Entry) -> bytes:
    """Return the path of the directory of *entry*."""
    return entry[0].rpartition(b"/")[0]


def _pack(files: Sequence[Entry]) -> bytes:
    """Return the files of a directory as bytes: number of files, modes, sizes and mtimes, digests, paths."""
    paths, _, modes, sizes, digests, mtimes, _ = zip(*files, strict=True)
    count = len(files)
    try:
        # Some file systems keep dates that do not fit into nanoseconds of 64 bits.
        numbers = struct.pack(f"<{count}I{count}Q{count}q", *modes, *sizes, *mtimes)
    except struct.error:
        return b""
    return b"".join([_COUNT.pack(count), numbers, *digests, b"\0".join(paths)])


def _same_files(packed: bytes, files: Sequence[Entry]) -> list[Entry]:
    """Return those of *files* that are in the packed directory with the same facts."""
    facts = _unpack(packed)
    return [entry for entry in files if facts.get(entry.path) == (entry.mode, entry.size, entry.mtime, entry.content)]


@lru_cache(maxsize=4)
def _unpack(packed: bytes) -> dict[bytes, tuple[int, int, int, bytes]]:
    if not packed:
        return {}
    (count,) = _COUNT.unpack_from(packed)
    numbers = struct.Struct(f"<{count}I{count}Q{count}q")
    values = numbers.unpack_from(packed, _COUNT.size)
    digests_at = _COUNT.size + numbers.size
    paths_at = digests_at + _DIGEST * count
    digests = [packed[at : at + _DIGEST] for at in range(digests_at, paths_at, _DIGEST)]
    facts = zip(values[:count], values[count : 2 * count], values[2 * count :], digests, strict=True)
    return dict(zip(packed[paths_at:].split(b"\0"), facts, strict=True))


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
