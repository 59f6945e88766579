"""A planned image: everything that decides its content, and its tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        base: the image below the code layers.
        pack: how the code layers are packed.
        changes: to the base's settings.
    """

    base: Base
    pack: PackOptions
    changes: Changes

    def patch(self, layers: Sequence[Layer]) -> PatchedImage:
        """Return config and manifest of the image that *layers* make over the base."""
        diff_ids = ",".join(layer.diff_id for layer in layers)
        changes = self.changes._replace(labels={**self.changes.labels, LAYERS_LABEL: diff_ids})
        code_layers = [CodeLayer(*layer, self.pack.compression) for layer in layers]
        return patch(self.base.config, self.base.manifest, code_layers, changes)


class ImageBuild(NamedTuple):
    """An image to build, for one or several platforms.

    Attributes:
        scan: the snapshot in the code layers, and the source of its content.
        tag: 32 hex digits that identify the content of all images.
        images: one for each platform.
        image_index: the base's index if all its platforms are patched: an entry for each of *images*.
        hot: whether a hot layer may carry small edits.
        rebuild: push the image also over a tag that refers to another one.
        verify: ask the registry for every blob, and send those that it has lost.
    """

    scan: Scan
    tag: str
    images: tuple[PlatformImage, ...]
    image_index: Index | None = None
    hot: bool = True
    rebuild: bool = False
    verify: bool = False

    @property
    def labels(self) -> list[Mapping[str, str]]:
        """The labels of each image that follow from its content, not from how it is cut into layers."""
        return [image.changes.labels for image in self.images]

    @property
    def base_name(self) -> str:
        """Name of the base, as the user wrote it."""
        return self.images[0].base.name
