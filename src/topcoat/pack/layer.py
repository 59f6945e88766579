"""Pack a group of entries into a layer: one pass reads, writes tar, hashes and compresses."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain
from typing import BinaryIO, NamedTuple

from topcoat.oci.compression import Compression, find_compressor
from topcoat.pack.cut import EntryGroup
from topcoat.pack.tar import BLOCK, END, Ownership, derived_mtime, header, padding
from topcoat.scan.names import decode
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry
from topcoat.scan.tree import reading
from topcoat.state import spool_file, spooling
from topcoat.tasks import ahead

# Output is hashed and compressed in blocks of this size: large enough that the interpreter's lock is free meanwhile.
_BLOCK = 1 << 20
# A heavier layer is spooled on disk.
_MAX_IN_MEMORY = 8 << 20
# A heavier layer is packed with a second thread.
_MAX_ONE_THREAD = 4 << 20
# Blocks that were read and are not compressed yet.
_MAX_AHEAD = 4


class Layer(NamedTuple):
    """A packed layer: digest of its tar, digest and size as stored."""

    diff_id: str
    digest: str
    size: int


class Directory(NamedTuple):
    """A directory that a layer has to repeat, with its attributes in the base image."""

    path: bytes
    mode: int = 0o755
    owner: Ownership = Ownership()


class PackOptions(NamedTuple):
    """What the bytes of a layer depend on besides its entries.

    Attributes:
        target: directory of the image that the snapshot is put into, without leading slash; empty for the root.
        parents: *target* and the directories above it, topmost first.
        owner: of every entry that has no owner of its own.
        preserve_mtimes: keep the entries' modification times instead of deriving them from content.
        compression: how the layer is stored.
    """

    target: bytes
    parents: tuple[Directory, ...]
    owner: Ownership = Ownership()
    preserve_mtimes: bool = False
    compression: Compression = "gzip"

    def identity(self) -> str:
        """Return all options and the compressor as one line, for cache keys; errors as of `find_compressor`."""
        return repr((tuple(self), find_compressor(self.compression).name))


class Packed(NamedTuple):
    """A layer and its bytes, as a seekable file at its start."""

    layer: Layer
    blob: BinaryIO


def pack(group: EntryGroup, scan: Scan, options: PackOptions) -> Packed:
    """Pack *group*; memory use does not depend on the size of its files.

    Raises:
        WorkspaceChanged: a file differs from its entry.
        StateError: the spool cannot be written.
    """
    weight = sum([entry.size + BLOCK for entry in group.members])
    blob = io.BytesIO() if weight <= _MAX_IN_MEMORY else spool_file("a layer", weight)
    try:
        sink = _Sink(blob, options.compression)
        blocks = tar_blocks(group, scan, options)
        # Hashing and compressing release the interpreter's lock to the reader.
        with closing(blocks if weight < _MAX_ONE_THREAD else ahead(blocks, _MAX_AHEAD)) as blocks:
            for block in blocks:
                sink.write(block)
        return sink.finish()
    except BaseException:
        with suppress(OSError):  # on a full disk, closing fails again
            blob.close()
        raise


def tar_blocks(group: EntryGroup, scan: Scan, options: PackOptions) -> Generator[bytes, None, None]:
    """Return the tar of *group*, not compressed; raise ``WorkspaceChanged`` as `pack` does."""
    yield from in_blocks(chain(_parts(group, scan, options), (END,)), _BLOCK)


def in_blocks(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Return *parts* joined to blocks of *size* bytes or more; the last one may be smaller, and none is empty."""
    waiting: list[bytes] = []
    waiting_size = 0
    for part in parts:
        waiting.append(part)
        waiting_size += len(part)
        if waiting_size >= size:
            yield b"".join(waiting)
            waiting, waiting_size = [], 0
    if waiting_size:
        yield b"".join(waiting)


def _parts(group: EntryGroup, scan: Scan, options: PackOptions) -> Iterator[bytes]:
    owner, preserve_mtimes = options.owner, options.preserve_mtimes
    prefix = options.target + b"/" if options.target else b""
    for directory in options.parents:
        entry = Entry(directory.path, "dir", directory.mode, 0, b"", 0)
        yield header(directory.path, entry, directory.owner, derived_mtime(entry))
    members = sorted(group.ancestors + group.members) if group.ancestors else group.members
    for entry in members:
        mtime = max(entry.mtime // 1_000_000_000, 0) if preserve_mtimes else derived_mtime(entry)
        yield header(prefix + entry.path, entry, Ownership(*entry.owner) if entry.owner else owner, mtime)
        if entry.kind != "file" or not entry.size:
            continue
        if entry.size < _BLOCK:
            yield scan.read(entry)
        else:
            yield from _stream(entry, scan)
        yield padding(entry.size)


def _stream(entry: Entry, scan: Scan) -> Iterator[bytes]:
    remaining, digest = entry.size, hashlib.sha256()
    with scan.open(entry) as source, reading(decode(entry.path)):
        while remaining:
            block = source.read(min(remaining, _BLOCK))
            if not block:
                raise scan.changed(entry)
            digest.update(block)
            remaining -= len(block)
            yield block
        if digest.digest() != entry.content:
            raise scan.changed(entry)


class _Sink:
    """Hashes, compresses and stores a tar."""

    def __init__(self, blob: BinaryIO, compression: Compression) -> None:
        self._blob = blob
        self._diff = hashlib.sha256()
        self._stored = self._diff if compression == "none" else hashlib.sha256()
        self._compressor = find_compressor(compression).start()
        self._size = 0

    def write(self, block: bytes) -> None:
        self._diff.update(block)
        self._store(self._compressor.compress(block))

    def _store(self, data: bytes) -> None:
        if self._stored is not self._diff:
            self._stored.update(data)
        self._size += len(data)
        with spooling("a layer"):
            self._blob.write(data)

    def finish(self) -> Packed:
        self._store(self._compressor.flush())
        with spooling("a layer"):
            self._blob.seek(0)
        diff, stored = f"sha256:{self._diff.hexdigest()}", f"sha256:{self._stored.hexdigest()}"
        return Packed(Layer(diff, stored, self._size), self._blob)
