"""A new index, with the patched images in place of those of the base's index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from topcoat.oci.descriptor import NOTHING, Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_INDEX, OCI_MANIFEST, Index
from topcoat.oci.patch import PatchedImage
from topcoat.oci.repair import repair_annotations, repair_descriptor


class PatchedIndex(NamedTuple):
    """A new index."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return sha256_digest(self.data)


def patched_index(index: Index, images: Sequence[PatchedImage]) -> PatchedIndex:
    """Return *index* with *images* in place of those that it lists, in the same order.

    Docker's flavour cannot list images of OCI's.
    """
    oci = index.media_type == OCI_INDEX or any(image.media_type == OCI_MANIFEST for image in images)
    entries = [
        repair_descriptor(
            Descriptor(image.media_type, image.digest, len(image.manifest), entry.extra),
            image.media_type,
            annotations=oci,
        )
        for entry, image in zip(index.manifests, images, strict=True)
    ]
    media_type = OCI_INDEX if oci else index.media_type
    annotations = repair_annotations(index.annotations) if oci else NOTHING
    return PatchedIndex(Index.build(media_type=media_type, manifests=entries, annotations=annotations), media_type)
