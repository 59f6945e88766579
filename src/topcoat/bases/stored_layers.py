"""A cache of the layers that were exported from engines: from a layer's diff id to the descriptor of its gzip blob.

Entries never go stale, because a digest identifies a blob. They do not tell whether a registry has the blob.
"""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.oci.descriptor import Descriptor
from topcoat.records import Cache

_CACHE = Cache("gzip-layers", 2)


def get_stored_layers(diff_ids: tuple[str, ...]) -> dict[str, Descriptor]:
    """Return the descriptors of *diff_ids* that are in the cache, by diff id."""
    descriptors = {diff_id: _CACHE.read_json(diff_id, Descriptor.from_json) for diff_id in diff_ids}
    return {diff_id: descriptor for diff_id, descriptor in descriptors.items() if descriptor}


def put_stored_layers(layers: Mapping[str, Descriptor]) -> None:
    """Store the descriptors of *layers*, by diff id."""
    for diff_id, descriptor in layers.items():
        _CACHE.write_json(diff_id, descriptor.to_json())
