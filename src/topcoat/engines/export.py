"""Read the archive that a container engine saves an image as, one layer at a time.

There are four forms. Docker up to 24 names layers after ids of its own and stores them as plain tars; Docker's classic
store of today puts plain tars into an OCI layout; its containerd store does so with blobs as they were pulled; Podman
names plain tars after their digests. So a layer is told by what it begins with, and a plain one is known by its digest.
All layers leave as gzip: one that is compressed with zstd is compressed anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import IO, BinaryIO, NamedTuple, cast

from topcoat.errors import DaemonError, InvalidImage
from topcoat.oci.compression import compression_of, decompressed, find_compressor
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import DOCKER_LAYER_GZIP
from topcoat.state import spool_file, spooling

_BLOCK = 1 << 20
_MOST_DOCUMENT_BYTES = 32 << 20
# Podman's layers carry their digest in front of .tar, an OCI layout's have it as their name.
_NAMED_BY_DIGEST = re.compile(r"(?:blobs/sha256/([0-9a-f]{64})|([0-9a-f]{64})\.tar)")


class ExportedLayer(NamedTuple):
    """A layer as a registry may store it, and its bytes: a file at its start, which is gone when the next is read."""

    descriptor: Descriptor
    blob: BinaryIO


class Export:
    """The layers of one image in an archive that is read once, front to back."""

    def __init__(self, blocks: Iterable[bytes], diff_ids: Sequence[str]) -> None:
        """Prepare to read *blocks*, the archive, for the image with these *diff_ids*."""
        self._blocks = blocks
        self._diff_ids = tuple(diff_ids)
        self._found: dict[str, Descriptor] = {}
        self._compressed: dict[str, Descriptor] = {}
        self._documents: dict[str, bytes] = {}

    def layers(self, skip: Collection[str] = ()) -> Iterator[ExportedLayer]:
        """Yield each layer once, but those whose digest, compressed or not, is one of *skip*.

        One that is not compressed is compressed on its way to disk, where it lies until the next one is asked for.

        Raises:
            DaemonError: the archive is damaged or ends too early.
            MissingDependency: a layer is compressed with zstd, and the zstandard package is not installed.
            StateError: there is no room on disk.
        """
        with _damage(), tarfile.open(fileobj=cast("IO[bytes]", _Blocks(self._blocks)), mode="r|") as archive:
            for member in archive:
                source = archive.extractfile(member) if member.isreg() else None
                named = _NAMED_BY_DIGEST.fullmatch(member.name)
                digest = f"sha256:{named[1] or named[2]}" if named else ""
                if source is None or digest in skip:
                    continue
                head = source.read(tarfile.BLOCKSIZE)
                if compression_of(head) == "zstd":
                    # Its tar is checked by the diff id, which says more than the name.
                    source, digest = _decompressed(head, source), ""
                    head = source.read(tarfile.BLOCKSIZE)
                compressed = compression_of(head) != "none"
                if not compressed and not _is_tar(head):
                    if member.size <= _MOST_DOCUMENT_BYTES:
                        self._documents[member.name] = head + source.read()
                    continue
                with spool_file("a layer of the base") as blob:
                    descriptor, diff_id = _copy(head, source, blob, compress=not compressed)
                    if compressed:
                        self._compressed[member.name] = descriptor
                    elif diff_id in self._diff_ids and diff_id not in self._found:
                        self._found[diff_id] = descriptor
                    else:
                        continue
                    if digest not in ("", descriptor.digest, diff_id):
                        raise DaemonError(
                            f"the container engine saved {member.name} with other content than its name says"
                        )
                    yield ExportedLayer(descriptor, blob)

    def found(self) -> dict[str, Descriptor]:
        """Return the layers that were read, by their diff ids."""
        found = dict(self._found)
        # Which tar a compressed layer holds is said by the list that comes after all of them.
        for diff_id, name in zip(self._diff_ids, self._layer_names(), strict=False):
            if name in self._compressed:
                found.setdefault(diff_id, self._compressed[name])
        return found

    def _layer_names(self) -> list[str]:
        try:
            entries = list(json.loads(self._documents.get("manifest.json", b"[]")))
        except (ValueError, TypeError):
            return []
        for entry in entries:
            try:
                if ImageConfig.parse(self._documents[entry["Config"]]).diff_ids == self._diff_ids:
                    return [str(name) for name in entry["Layers"]]
            except (LookupError, TypeError, InvalidImage):
                # An image of another platform, of which the engine has the list alone.
                continue
        return []


class _Blocks:
    """An iterable of bytes as something to read from."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._left = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._left = memoryview(block)
        data, self._left = self._left[:size], self._left[size:]
        return bytes(data)


def _decompressed(head: bytes, source: IO[bytes]) -> IO[bytes]:
    """Return the content of a compressed file, of which *head* was read already."""
    rest = iter(partial(source.read, _BLOCK), b"")
    return decompressed(cast(BinaryIO, _Blocks(chain([head], rest))))


def _is_tar(head: bytes) -> bool:
    """Tell whether a file that begins with *head* is a tar: its first header has the right checksum, or is empty."""
    if len(head) < tarfile.BLOCKSIZE:
        return False
    stated = head[148:156].strip(b" \0")
    if not stated:
        return not any(head)
    # The sum is made with blanks in its own place.
    return stated.isdigit() and int(stated, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:])


def _copy(head: bytes, source: IO[bytes], blob: BinaryIO, *, compress: bool) -> tuple[Descriptor, str]:
    """Write a layer to *blob* as it is stored; return its descriptor, and the digest of what was read."""
    read, stored, size = hashlib.sha256(), hashlib.sha256(), 0
    compressor = find_compressor("gzip").start() if compress else None
    block = head
    while True:
        read.update(block)
        data = (compressor.compress(block) if block else compressor.flush()) if compressor else block
        stored.update(data)
        size += len(data)
        with spooling("a layer of the base"):
            blob.write(data)
        if not block:
            break
        block = source.read(_BLOCK)
    with spooling("a layer of the base"):
        blob.seek(0)
    return Descriptor(DOCKER_LAYER_GZIP, f"sha256:{stored.hexdigest()}", size), f"sha256:{read.hexdigest()}"


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and type(error) is not OSError:
            # Not damage: the connection to the engine has failed.
            raise
        raise DaemonError(
            f"what the container engine saved is not a whole archive: {error}",
            hint="see whether the engine can save it at all: docker save IMAGE | tar t",
        ) from error
