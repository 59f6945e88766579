"""What travels to a login node: the files that an earlier snapshot there lacks, and the names of the others."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Generator, Iterable, Iterator, Set
from itertools import chain
from typing import Literal, NamedTuple

from topcoat.destinations.last_snapshot import LastSnapshot, SnapshotFiles
from topcoat.oci.compression import find_compressor
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import PackOptions, in_blocks, tar_blocks
from topcoat.pack.tar import END, header
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.tasks import ahead

_BLOCK = 2 << 20
_MAX_THREADS = 4
# Blocks that wait while the network is busy.
_MAX_AHEAD = 6
_PACK = PackOptions(b"", (), preserve_mtimes=True)
_SECOND = 1_000_000_000


class Archive(NamedTuple):
    """All of a snapshot but the files that are there already.

    Attributes:
        unchanged: paths of those files.
        head: what comes first, compressed by gzip: their names, the names of the directories, the directories.
        entries: what comes then.
    """

    unchanged: frozenset[bytes]
    head: tuple[bytes, bytes, bytes]
    entries: tuple[Entry, ...]

    def blocks(self, scan: Scan, compression: Literal["gzip", "zstd"]) -> Generator[bytes, None, None]:
        """Return the bytes of the archive as the script reads them, made while they are sent.

        Args:
            scan: reads the files, and raises ``WorkspaceChanged`` if one has changed.
            compression: of the files.
        """
        return ahead(_framed(chain(self.head, self._compressed(scan, compression))), _MAX_AHEAD)

    def _compressed(self, scan: Scan, compression: Literal["gzip", "zstd"]) -> Iterator[bytes]:
        stream = find_compressor(compression, threads=min(os.cpu_count() or 1, _MAX_THREADS)).start()
        yield from map(stream.compress, tar_blocks(EntryGroup(self.entries, ()), scan, _PACK))
        yield stream.flush()


class Shipment:
    """A snapshot for another machine. What takes time is done at once, while a connection is opened.

    Attributes:
        snapshot: the snapshot.
        files: its files by directory.
        record_digest: of the sorted records of its entries, as the ``list`` of `remote_scripts` prints them.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._entries = [entry for entry in snapshot if entry.path != MARKER.encode()]
        self.files = SnapshotFiles(self._entries)
        self._records = {_record(entry): entry for entry in self._entries}
        self.record_digest = hashlib.sha256(b"".join([record + b"\0" for record in sorted(self._records)])).hexdigest()

    def same_files(self, last: LastSnapshot) -> set[bytes]:
        """Return the paths of the files that *last* has too."""
        return {entry.path for directory in self.files.directories for entry in last.same_files(directory, self.files)}

    def same_contents(self, contents: Set[bytes]) -> set[bytes]:
        """Return the paths of the files that are among what `remote_scripts.CONTENTS` printed."""
        return {
            entry.path
            for entry in self._entries
            if entry.kind == "file"
            and b"%b  %b" % (entry.content.hex().encode(), entry.path) in contents
            and b"%o %d %d  %b" % (entry.mode, entry.size, _seconds(entry), entry.path) in contents
        }

    def missing(self, records: Set[bytes]) -> list[Entry]:
        """Return the entries that are not among *records*, which ``list`` printed."""
        return [entry for record, entry in self._records.items() if record not in records]

    def file_names(self) -> bytes:
        """Return the paths of all files, packed."""
        return _names(entry.path for entry in self._entries if entry.kind == "file")

    def archive(self, unchanged: Set[bytes]) -> Archive:
        """Return the archive of all but the *unchanged* files; these are read while it is sent."""
        folders = [entry for entry in self._entries if entry.kind == "dir"]
        tar = b"".join([header(entry.path, entry, _PACK.owner, _seconds(entry)) for entry in folders])
        head = _names(sorted(unchanged)), _names([entry.path for entry in folders]), gzip.compress(tar + END, 1)
        files = tuple(entry for entry in self._entries if entry.kind != "dir" and entry.path not in unchanged)
        return Archive(frozenset(unchanged), head, files)


def _framed(parts: Iterable[bytes]) -> Generator[bytes, None, None]:
    """Return *parts* in blocks as the script reads them: their sizes between them, and their digest at the end."""
    digest = hashlib.sha256()
    # The script starts a process for each block.
    for block in in_blocks(parts, _BLOCK):
        digest.update(block)
        yield b"%d\n" % len(block)
        yield block
    yield b"0 %b\n" % digest.hexdigest().encode()


def _names(paths: Iterable[bytes]) -> bytes:
    return gzip.compress(b"".join([path + b"\0" for path in paths]), 1)


def _seconds(entry: Entry) -> int:
    return max(entry.mtime // _SECOND, 0)


def _record(entry: Entry) -> bytes:
    if entry.kind == "dir":
        return b"%b\td%o" % (entry.path, entry.mode)
    if entry.kind == "link":
        return b"%b\tl%b" % (entry.path, entry.content)
    return b"%b\tf%o %d %d.0000000000" % (entry.path, entry.mode, entry.size, _seconds(entry))
