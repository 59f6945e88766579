"""The tag that a builder's image has in a registry. The builder pushes it; this looks at what the tag refers to."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.destinations.existing_image import read_existing
from topcoat.destinations.push_records import PushRecord, last_push_record, write_push_record
from topcoat.errors import TagMoved
from topcoat.notices import notice
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients


class BuiltTag:
    """A name with a tag, the labels of the image that it stands for, and the digest that this machine knows it by."""

    def __init__(self, target: Reference, clients: Clients, labels: Mapping[str, str], workspace_key: str) -> None:
        self._target = target
        self._client = clients(target.registry)
        self._labels = labels
        self._record_key = (target.name, "built", workspace_key)

    def find(self, *, verify: bool) -> str:
        """Return the digest of the image; empty if the registry does not have it, or not all of it.

        An image that is known by its digest costs one request, unless *verify* asks for each of its blobs.

        Raises:
            TagMoved: the tag refers to another image.
        """
        current = self._client.head_manifest(self._target.repository, self._target.tag)
        if current is None:
            return ""
        record = last_push_record(*self._record_key) or PushRecord(self._target.tag)
        remembered = record.digests.get(self._target.tag, "")
        if current.digest == remembered and not verify:
            return remembered
        existing = read_existing(self._client, self._target, [self._labels], remembered)
        if existing is None:
            return ""
        if not existing.is_confirmed:
            raise TagMoved(
                f"{self._target} refers to {existing.digest}, an image that has lost its config: it may be another one",
                hint="-cfg rebuild=true overwrites it",
            )
        if existing.missing:
            notice(f"{self._target} has lost {len(existing.missing)} of its blobs")
            return ""
        write_push_record(record.with_digest(self._target.tag, existing.digest), *self._record_key)
        return existing.digest
