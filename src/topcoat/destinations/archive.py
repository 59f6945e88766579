"""The archive that an engine loads an image from: an OCI layout and a ``docker save`` archive in one.

It is sparse: it names layers that the engine has, without their content (OCI image specification, *image layout*: blobs
may be missing).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from topcoat.bases.base import Base
from topcoat.destinations.code_layers import CodeLayers
from topcoat.images.image_build import PlatformImage
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_INDEX, Index
from topcoat.oci.patch import PatchedImage
from topcoat.pack.layer import Layer
from topcoat.pack.plan import PlannedLayer
from topcoat.pack.tar import END, Ownership, header, padding
from topcoat.scan.snapshot import Entry
from topcoat.transfers import expect

_BLOCK = 1 << 20


class SparseArchive:
    """The archive for one image, packed while it is sent.

    Attributes:
        sent: bytes of layers in it so far.
        packed: layers that were packed for it so far.
    """

    def __init__(
        self, image: PlatformImage, code_layers: CodeLayers, planned: list[PlannedLayer], existing_count: int, name: str
    ) -> None:
        """Archive *image* as *name*; the engine has the first *existing_count* of the *planned* layers already."""
        self._image = image
        self._code_layers = code_layers
        self._planned = planned
        self._existing = existing_count
        self._name = name
        self.sent = 0
        self.packed = 0

    def blocks(self) -> Iterator[bytes]:
        """Yield the archive piece by piece; raise ``WorkspaceChanged`` if a file is not what the snapshot says."""
        layers: list[Layer] = []
        yield _directory(b"blobs") + _directory(b"blobs/sha256")
        for position, planned in enumerate(self._planned):
            if position < self._existing and planned.layer is not None:
                layers.append(planned.layer)
                continue
            layer, blob = self._code_layers.pack(planned, self._image.pack)
            self.packed += 1
            self.sent += layer.size
            expect("loading", layer.size)
            layers.append(layer)
            yield from _blob(_blob_path(layer.digest), layer.size, blob)
        image = self._image.patch(layers)
        for content in (image.config, image.manifest):
            yield _file(_blob_path(sha256_digest(content)), content)
        yield _file(b"oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        yield _file(b"index.json", _index(image, self._name))
        yield _file(b"manifest.json", _docker_manifest(image, layers, self._image.base, self._name))
        yield END


def _index(image: PatchedImage, name: str) -> bytes:
    annotations = {
        "io.containerd.image.name": f"docker.io/library/{name}",
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    entry = Descriptor(image.media_type, image.digest, len(image.manifest), {"annotations": annotations})
    return Index.build(media_type=OCI_INDEX, manifests=[entry])


def _docker_manifest(image: PatchedImage, layers: list[Layer], base: Base, name: str) -> bytes:
    diff_ids = [*base.config.diff_ids, *(layer.diff_id for layer in layers)]
    paths = [_blob_path(diff_id).decode() for diff_id in diff_ids]
    config = _blob_path(image.descriptor.digest).decode()
    return json.dumps([{"Config": config, "RepoTags": [name], "Layers": paths}]).encode()


def _blob_path(digest: str) -> bytes:
    return b"blobs/sha256/" + digest.removeprefix("sha256:").encode()


def _directory(name: bytes) -> bytes:
    return header(name, Entry(name, "dir", 0o755, 0, b"", 0), Ownership(), 0)


def _file(name: bytes, content: bytes) -> bytes:
    return b"".join(_blob(name, len(content), BytesIO(content)))


def _blob(name: bytes, size: int, blob: BinaryIO) -> Iterator[bytes]:
    yield header(name, Entry(name, "file", 0o644, size, b"", 0), Ownership(), 0)
    with blob:
        while block := blob.read(_BLOCK):
            yield block
    yield padding(size)
