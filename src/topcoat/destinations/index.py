"""A new index, with the patched images in place of those of the base's index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import Index
from topcoat.oci.patch import PatchedImage


class PatchedIndex(NamedTuple):
    """A new index."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return sha256_digest(self.data)


def patched_index(index: Index, images: Sequence[PatchedImage]) -> PatchedIndex:
    """Return *index* with *images* in place of those that it lists, in the same order."""
    entries = [
        Descriptor(image.media_type, image.digest, len(image.manifest), entry.extra)
        for entry, image in zip(index.manifests, images, strict=True)
    ]
    data = Index.build(media_type=index.media_type, manifests=entries, annotations=index.annotations)
    return PatchedIndex(data, index.media_type)
