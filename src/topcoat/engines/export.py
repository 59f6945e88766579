"""Read the archive that a container engine exports an image as, one layer at a time.

There are four forms. Docker up to 24 names layers by its own ids and stores plain tars. Today's Docker writes an OCI
layout: of plain tars with the classic store, of the blobs as pulled with the containerd store. Podman names plain tars
by their digests. So a layer is recognised by its first bytes, and a plain one is identified by its digest.
Every layer leaves as gzip: a zstd one is recompressed.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import IO, BinaryIO, NamedTuple, cast

from topcoat.errors import DaemonError, InvalidImage
from topcoat.foreign_text import escaped, parse_json
from topcoat.oci.compression import compression_of, decompressed, find_compressor
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import DOCKER_LAYER_GZIP
from topcoat.state import spool_file, spooling

_BLOCK = 1 << 20
_MAX_DOCUMENT_BYTES = 32 << 20
# A file of an OCI layout, or a layer of Podman's.
_NAMED_BY_DIGEST = re.compile(r"(?:blobs/sha256/([0-9a-f]{64})|([0-9a-f]{64})\.tar)")


class ExportedLayer(NamedTuple):
    """A layer as a registry may store it; *blob* is an open file until the next layer is read."""

    descriptor: Descriptor
    blob: BinaryIO


class Export:
    """The layers of one image in an archive, which is read once."""

    def __init__(self, blocks: Iterable[bytes], diff_ids: Sequence[str]) -> None:
        """Prepare to read the archive *blocks* for the image with these *diff_ids*."""
        self._blocks = blocks
        self._diff_ids = tuple(diff_ids)
        self._plain: dict[str, Descriptor] = {}
        self._compressed: dict[str, Descriptor] = {}
        self._documents: dict[str, bytes] = {}

    def layers(self, skip: Collection[str] = ()) -> Iterator[ExportedLayer]:
        """Yield each layer once, except those whose digest or diff id is in *skip*.

        A plain layer is compressed into a temporary file, which is deleted before the next layer.

        Raises:
            DaemonError: the archive is damaged or incomplete.
            MissingDependency: a layer is compressed with zstd, and the zstandard package is not installed.
            StateError: the disk is full.
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
                    blocks = chain([head], iter(partial(source.read, _BLOCK), b""))
                    source, digest = decompressed(cast(BinaryIO, _Blocks(blocks))), ""
                    head = source.read(tarfile.BLOCKSIZE)
                compressed = compression_of(head) != "none"
                if not compressed and not _is_tar(head):
                    if member.size <= _MAX_DOCUMENT_BYTES:
                        self._documents[member.name] = head + source.read()
                    continue
                with spool_file("a layer of the base") as blob:
                    descriptor, diff_id = _copy(head, source, blob, compress=not compressed)
                    if compressed:
                        self._compressed[member.name] = descriptor
                    elif diff_id in self._diff_ids and diff_id not in self._plain:
                        self._plain[diff_id] = descriptor
                    else:
                        continue
                    if digest not in ("", descriptor.digest, diff_id):
                        raise DaemonError(
                            f"the container engine exported {escaped(member.name)} with content that does not match "
                            "its name"
                        )
                    yield ExportedLayer(descriptor, blob)

    def descriptors(self) -> dict[str, Descriptor]:
        """Return the descriptors of the layers that were read, by diff id."""
        descriptors = dict(self._plain)
        # The list at the end of the archive tells the diff ids of compressed layers.
        for diff_id, name in zip(self._diff_ids, self._layer_names(), strict=False):
            if name in self._compressed:
                descriptors.setdefault(diff_id, self._compressed[name])
        return descriptors

    def _layer_names(self) -> list[str]:
        try:
            entries = list(parse_json(self._documents.get("manifest.json", b"[]")))
        except (ValueError, TypeError):
            return []
        for entry in entries:
            try:
                if ImageConfig.parse(self._documents[entry["Config"]]).diff_ids == self._diff_ids:
                    return [str(name) for name in entry["Layers"]]
            except (LookupError, TypeError, InvalidImage):
                # The config of another platform is missing.
                continue
        return []


class _Blocks:
    """A readable file over an iterable of bytes."""

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


def _is_tar(head: bytes) -> bool:
    """Tell whether a file that begins with *head* is a tar: its first header has a valid checksum, or is empty."""
    if len(head) < tarfile.BLOCKSIZE:
        return False
    checksum = head[148:156].strip(b" \0")
    if not checksum:
        return not any(head)
    # For the sum, the checksum field counts as eight blanks.
    return bool(re.fullmatch(b"[0-7]+", checksum)) and int(checksum, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:])


def _copy(head: bytes, source: IO[bytes], blob: BinaryIO, *, compress: bool) -> tuple[Descriptor, str]:
    """Write a layer to *blob*; return the descriptor of what was written, and the digest of what was read."""
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
            f"the container engine exported a damaged or incomplete archive: {error}",
            hint="check whether the engine can export it: docker save IMAGE | tar t",
        ) from error
