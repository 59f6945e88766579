"""Pack a chunk into a layer: one pass that reads, writes tar, hashes and compresses."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Any, BinaryIO, NamedTuple

from topcoat.oci.compression import Compression, zstd_compressor, zstd_name
from topcoat.pack.cut import EntryGroup
from topcoat.pack.tar import BLOCK, END, Ownership, derived_mtime, header, padding
from topcoat.scan.scanner import Scan, changed
from topcoat.scan.snapshot import Entry
from topcoat.scan.tree import reading
from topcoat.state import spool_file, spooling

# Output is hashed and compressed in pieces of this size: large enough that the interpreter's lock is free meanwhile.
_BLOCK = 1 << 20
# A layer whose entries weigh more is spooled on disk.
_IN_MEMORY = 8 << 20
# A chunk lighter than this is packed without a second thread.
_ONE_THREAD = 4 << 20


class Layer(NamedTuple):
    """A packed chunk: digest of the tar, digest and size of what is stored."""

    diff_id: str
    digest: str
    size: int


class Directory(NamedTuple):
    """A directory of the base that a layer has to repeat, with its attributes there."""

    path: bytes
    mode: int = 0o755
    owner: Ownership = Ownership()


class PackOptions(NamedTuple):
    """What decides the bytes of a layer, besides its entries.

    Attributes:
        target: directory of the image that the snapshot lands in, without leading slash; empty for the root.
        parents: *target* and the directories above it, topmost first.
        owner: of every entry of the snapshot that does not name its own.
        preserve_mtimes: keep the entries' modification times instead of deriving them from content.
        compression: how the layer is stored.
    """

    target: bytes
    parents: tuple[Directory, ...]
    owner: Ownership = Ownership()
    preserve_mtimes: bool = False
    compression: Compression = "gzip"

    def identity(self) -> str:
        """Return all of it as one line, for keys of caches."""
        return repr((tuple(self), compressor_name(self.compression)))


class Packed(NamedTuple):
    """A layer and its bytes, as a seekable file at its start."""

    layer: Layer
    blob: BinaryIO


def pack(chunk: EntryGroup, scan: Scan, options: PackOptions) -> Packed:
    """Pack *chunk*; memory stays constant however large its files are.

    Raises:
        WorkspaceChanged: a file is no longer what the snapshot says.
        StateError: there is no place to spool.
    """
    weight = sum([entry.size + BLOCK for entry in chunk.members])
    blob = _spool(weight)
    try:
        sink = _Sink(blob, options.compression)
        with closing(_blocks(chunk, scan, options)) as blocks:
            if weight < _ONE_THREAD:
                for block in blocks:
                    sink.write(block)
            else:
                _write_beside(sink, blocks)
        return sink.finish()
    except BaseException:
        with suppress(OSError):  # on a full disk, closing fails once more
            blob.close()
        raise


def compressor_name(compression: Compression) -> str:
    """Return which compressor makes the layers: their stored bytes, not their content, depend on it.

    Raises:
        MissingDependency: zstd is wanted and not installed.
    """
    if compression == "none":
        return ""
    return zstd_name() if compression == "zstd" else _compressor()[0]


def _blocks(chunk: EntryGroup, scan: Scan, options: PackOptions) -> Generator[bytes, None, None]:
    parts: list[bytes] = []
    size = 0
    for part in _parts(chunk, scan, options):
        parts.append(part)
        size += len(part)
        if size >= _BLOCK:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join([*parts, END])


def _parts(chunk: EntryGroup, scan: Scan, options: PackOptions) -> Iterator[bytes]:
    owner, preserve_mtimes = options.owner, options.preserve_mtimes
    prefix = options.target + b"/" if options.target else b""
    for directory in options.parents:
        entry = Entry(directory.path, "dir", directory.mode, 0, b"", 0)
        yield header(directory.path, entry, directory.owner, derived_mtime(entry))
    members = sorted(chunk.ancestors + chunk.members) if chunk.ancestors else chunk.members
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
    left, digest = entry.size, hashlib.sha256()
    with scan.open(entry) as source, reading(os.fsdecode(entry.path)):
        while left:
            block = source.read(min(left, _BLOCK))
            if not block:
                raise changed(entry)
            digest.update(block)
            left -= len(block)
            yield block
        if source.read(1) or digest.digest() != entry.content:
            raise changed(entry)


class _Sink:
    """Hashes, compresses and stores a tar."""

    def __init__(self, blob: BinaryIO, compression: Compression) -> None:
        self._blob = blob
        self._diff = hashlib.sha256()
        self._stored = self._diff if compression == "none" else hashlib.sha256()
        self._compressor = _new_compressor(compression)
        self._size = 0

    def write(self, block: bytes) -> None:
        self._diff.update(block)
        self._store(self._compressor.compress(block) if self._compressor else block)

    def _store(self, data: bytes) -> None:
        if self._compressor:
            self._stored.update(data)
        self._size += len(data)
        with spooling("a layer"):
            self._blob.write(data)

    def finish(self) -> Packed:
        if self._compressor:
            self._store(self._compressor.flush())
        with spooling("a layer"):
            self._blob.seek(0)
        diff, stored = f"sha256:{self._diff.hexdigest()}", f"sha256:{self._stored.hexdigest()}"
        return Packed(Layer(diff, stored, self._size), self._blob)


def _write_beside(sink: _Sink, blocks: Iterator[bytes]) -> None:
    """Feed *sink* from a second thread: hashing and compressing leave the interpreter's lock to the reader."""
    waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=4)
    failure: list[BaseException] = []

    def consume() -> None:
        try:
            while (block := waiting.get()) is not None:
                sink.write(block)
        except BaseException as error:
            failure.append(error)
            while waiting.get() is not None:
                pass

    worker = threading.Thread(target=consume, name="topcoat-pack", daemon=True)
    worker.start()
    try:
        for block in blocks:
            waiting.put(block)
            if failure:
                break
    finally:
        waiting.put(None)
        worker.join()
    if failure:
        raise failure[0]


def _spool(weight: int) -> BinaryIO:
    return io.BytesIO() if weight <= _IN_MEMORY else spool_file("a layer")


def _new_compressor(compression: Compression) -> Any:
    if compression == "none":
        return None
    return zstd_compressor() if compression == "zstd" else _compressor()[1]()


def _compressor() -> tuple[str, Callable[[], Any]]:
    # Level 1 of isal is several times as fast as zlib's and compresses as well. Neither writes a time or a name.
    try:
        import isal
        from isal import isal_zlib
    except ImportError:
        import zlib

        return f"zlib {zlib.ZLIB_RUNTIME_VERSION}", lambda: zlib.compressobj(1, zlib.DEFLATED, 31)
    return f"isal {isal.ISAL_VERSION}", lambda: isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
