"""An image as it is planned: everything that decides its content, and the tag that stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from topcoat.bases.base import Base
from topcoat.images.tag import LAYERS_LABEL
from topcoat.oci.manifest import Index
from topcoat.oci.patch import Changes, CodeLayer, PatchedImage, patch
from topcoat.pack.layer import Layer, PackOptions
from topcoat.scan.scanner import Scan


class PlatformImage(NamedTuple):
    """The image for one platform.

    Attributes:
        base: what the code layers are laid over.
        pack: how the code layers are packed.
        changes: to the base's settings.
    """

    base: Base
    pack: PackOptions
    changes: Changes

    def patch(self, layers: Sequence[Layer]) -> PatchedImage:
        """Return config and manifest of the image that *layers* make over the base."""
        stacked = ",".join(layer.diff_id for layer in layers)
        changes = self.changes._replace(labels={**self.changes.labels, LAYERS_LABEL: stacked})
        code_layers = [CodeLayer(*layer, self.pack.compression) for layer in layers]
        return patch(self.base.config, self.base.manifest, code_layers, changes)


class ImageBuild(NamedTuple):
    """What is to be built.

    Attributes:
        scan: the snapshot that the code layers hold, and where its content is read.
        tag: 32 hex digits that stand for the content of all images.
        images: one for each platform.
        image_index: the base's index if all its platforms are patched: an entry for each of *images*.
        hot: whether a hot layer may carry small edits.
    """

    scan: Scan
    tag: str
    images: tuple[PlatformImage, ...]
    image_index: Index | None = None
    hot: bool = True

    @property
    def base_name(self) -> str:
        """Name of the base, as the user wrote it."""
        return self.images[0].base.name
