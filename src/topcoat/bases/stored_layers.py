"""Remember how a layer is stored: from the digest of its tar to the compressed blob that was once made of it.

Every entry is true for ever: a blob is known by its digest. Whether a registry has it is another question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from topcoat.errors import InvalidImage
from topcoat.oci.descriptor import Descriptor
from topcoat.state import cache_dir, write_atomic


def recall_layers(diff_ids: tuple[str, ...]) -> dict[str, Descriptor]:
    """Return the blobs that are known to hold the layers *diff_ids*, by these; the others are left out."""
    directory, found = cache_dir("layers"), {}
    for diff_id in diff_ids:
        try:
            found[diff_id] = Descriptor.from_json(json.loads((directory / _name(diff_id)).read_bytes()))
        except (OSError, ValueError, InvalidImage):
            continue
    return found


def remember_layers(layers: Mapping[str, Descriptor]) -> None:
    """Note which blobs hold the layers that are the keys.

    Raises:
        StateError: the notes cannot be written.
    """
    directory = cache_dir("layers")
    for diff_id, descriptor in layers.items():
        write_atomic(directory / _name(diff_id), json.dumps(descriptor.to_json()).encode())


def _name(diff_id: str) -> str:
    # A diff id comes from an image's config, which may say anything.
    return diff_id.replace(":", "-").replace("/", "-")
