"""What every image destination needs to know, and what it has to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from topcoat.bases.base import Base
from topcoat.oci.compression import Compression
from topcoat.oci.patch import Changes, CodeLayer, PatchedImage, patch
from topcoat.pack.layer import Packed, PackOptions, pack
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.plan import PlannedLayer
from topcoat.rootfs.nodes import OpenTree
from topcoat.scan.scanner import Scan


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
        variants: the image for each platform of an index, of which this one is the first; empty for a plain image.
    """

    scan: Scan
    base: Base
    options: PackOptions
    changes: Changes
    tag: str
    hot: bool = True
    pieces: tuple[PlannedLayer, ...] = ()
    spool: Mapping[str, Packed] = {}
    variants: tuple[ImageBuild, ...] = ()

    @property
    def images(self) -> tuple[ImageBuild, ...]:
        """The image of each platform: this one alone, unless it is an index."""
        return self.variants or (self,)

    def pack(self, piece: PlannedLayer, memory: LayerCache) -> Packed:
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
        packed = pack(piece.group, self.scan, self.options)
        memory.put(piece.key, piece.group, packed.layer)
        return packed

    def without_spool(self) -> ImageBuild:
        """Return the build as it was before it was packed ahead, and let go of what was packed."""
        for packed in self.spool.values():
            packed.blob.close()
        build = self.without_pieces()
        return build._replace(spool={}, variants=tuple([one._replace(spool={}) for one in build.variants]))

    def without_pieces(self) -> ImageBuild:
        """Return the build as it was before it was cut into layers; what is packed stays in the spool."""
        return self._replace(pieces=(), variants=tuple([one._replace(pieces=()) for one in self.variants]))

    def patch(self, layers: list[CodeLayer]) -> PatchedImage:
        """Return the image that *layers* make over the base."""
        stacked = ",".join(layer.diff_id for layer in layers)
        labels = {**self.changes.labels, "dev.topcoat.layers": stacked}
        layers = [layer._replace(compression=self.options.compression) for layer in layers]
        return patch(self.base.config, self.base.manifest, layers, self.changes._replace(labels=labels))


class DeliveryResult(NamedTuple):
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

    takes_index: bool
    """Whether images for several platforms may go there under one name."""

    def stored_as(self, wanted: Compression) -> Compression:
        """Return how layers are stored there when the user wants *wanted*.

        Raises:
            MissingDependency: what that takes is not installed.
            DaemonError: the destination cannot take such layers.
        """

    def find_base(self, name: str, platform: str) -> Base:
        """Look up the image to lay code over; *platform* may be empty for the destination's own choice."""

    def confirm_base(self, base: Base) -> Base:
        """Return *base*, or what its name stands for by now if it was looked up from memory."""

    def tree_of(self, base: Base, limit: int | None) -> OpenTree:
        """Return what looks into *base*, reading at most *limit* bytes of its layers; None for as many as it takes."""

    def image_name(self, tag: str) -> str:
        """Return the name that the image with *tag* has, or will have, at this destination."""

    def begin(self, build: ImageBuild, context: str) -> None:
        """Start in the background what a delivery of *build* begins with."""

    def deliver(self, build: ImageBuild, context: str) -> DeliveryResult:
        """Bring the image there; nothing is sent that is there already.

        *context* names what is being worked on (see `deliveries`): deliveries of one context build on each other.
        """
