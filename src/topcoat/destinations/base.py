"""What every image destination needs to know, and what it has to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from topcoat.oci.config import ImageConfig
from topcoat.oci.manifest import Manifest
from topcoat.oci.patch import Changes, CodeLayer, PatchedImage, patch
from topcoat.pack.layer import Compression, Packed, PackOptions, pack
from topcoat.pack.memory import ChunkMemory
from topcoat.pack.plan import Piece
from topcoat.scan.scanner import Scan


class Base(NamedTuple):
    """The image that code is laid over.

    Attributes:
        name: as the user wrote it.
        digest: of what the name refers to: an index where it is one; empty where a daemon holds the image.
        manifest: of the platform that was chosen.
        config: its config.
        registry: host that holds the layers; empty for a daemon.
        repository: where they lie in it.
    """

    name: str
    digest: str
    manifest: Manifest
    config: ImageConfig
    registry: str = ""
    repository: str = ""


class ImageBuild(NamedTuple):
    """An image as it was planned: everything that decides its content, and its tag.

    Attributes:
        scan: the snapshot and where its content is read.
        base: what it is laid over.
        options: how it is packed.
        changes: what becomes of the base's settings.
        tag: 32 hex digits that stand for all of these.
        hot: whether a hot layer may carry edits.
        pieces: the layers that it was packed as ahead of its delivery; empty where it was not.
        spool: those of them that are packed and wait, by their keys.
    """

    scan: Scan
    base: Base
    options: PackOptions
    changes: Changes
    tag: str
    hot: bool = True
    pieces: tuple[Piece, ...] = ()
    spool: Mapping[str, Packed] = {}

    def pack(self, piece: Piece, memory: ChunkMemory) -> Packed:
        """Pack *piece* and remember its layer, or take it from the spool.

        Raises:
            WorkspaceChanged: a file is no longer what the snapshot says.
            StateError: there is no place to spool.
        """
        waiting = self.spool.get(piece.key)
        if waiting is not None:
            # An earlier delivery may have read it.
            waiting.blob.seek(0)
            return waiting
        packed = pack(piece.chunk, self.scan, self.options)
        memory.remember(piece.key, piece.chunk, packed.layer)
        return packed

    def without_spool(self) -> ImageBuild:
        """Return the build as it was before it was packed ahead, and let go of what was packed."""
        for packed in self.spool.values():
            packed.blob.close()
        return self._replace(pieces=(), spool={})

    def patch(self, layers: list[CodeLayer]) -> PatchedImage:
        """Return the image that *layers* make over the base."""
        stacked = ",".join(layer.diff_id for layer in layers)
        labels = {**self.changes.labels, "dev.topcoat.layers": stacked}
        return patch(self.base.config, self.base.manifest, layers, self.changes._replace(labels=labels))


class Delivered(NamedTuple):
    """What came of a delivery.

    Attributes:
        image: the name to run it by: ``repository:tag``, or the id that a daemon gave it.
        digest: of the manifest in a registry; empty where a daemon holds the image.
        sent: bytes of blobs that were sent.
        layers: how many layers were packed for it.
    """

    image: str
    digest: str = ""
    sent: int = 0
    layers: int = 0


class ImageDestination(Protocol):
    """A place for images."""

    compression: Compression
    """How layers are stored there."""

    def find_base(self, name: str, platform: str) -> Base:
        """Look up the image to lay code over; *platform* may be empty for the destination's own choice."""

    def confirm_base(self, base: Base) -> Base:
        """Return *base*, or what its name stands for by now if it was looked up from memory."""

    def image_name(self, tag: str) -> str:
        """Return the name that the image with *tag* has, or will have, at this destination."""

    def begin(self, build: ImageBuild, context: str) -> None:
        """Start in the background what a delivery of *build* begins with."""

    def deliver(self, build: ImageBuild, context: str) -> Delivered:
        """Bring the image there; nothing is sent that is there already.

        *context* names what is being worked on (see `deliveries`): deliveries of one context build on each other.
        """
