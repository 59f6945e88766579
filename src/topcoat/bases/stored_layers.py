"""A cache of the layers that were exported from engines: from a layer's diff id to the descriptor of its gzip blob.

Entries never go stale, because a digest identifies a blob. They do not tell whether a registry has the blob.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from topcoat.errors import InvalidImage
from topcoat.oci.descriptor import Descriptor
from topcoat.state import cache_dir, write_cache


def get_stored_layers(diff_ids: tuple[str, ...]) -> dict[str, Descriptor]:
    """Return the descriptors of *diff_ids* that are in the cache, by diff id."""
    directory, descriptors = cache_dir("gzip-layers"), {}
    for diff_id in diff_ids:
        try:
            descriptors[diff_id] = Descriptor.from_json(json.loads((directory / _name(diff_id)).read_bytes()))
        except (OSError, ValueError, InvalidImage):
            continue
    return descriptors


def put_stored_layers(layers: Mapping[str, Descriptor]) -> None:
    """Store the descriptors of *layers*, by diff id."""
    directory = cache_dir("gzip-layers")
    for diff_id, descriptor in layers.items():
        write_cache(directory / _name(diff_id), json.dumps(descriptor.to_json()).encode())


def _name(diff_id: str) -> str:
    # A diff id comes from an image's config, which may contain any string.
    return diff_id.replace(":", "-").replace("/", "-")
