"""Records of the last delivery of each workspace, so that the next one sends only what has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from topcoat.records import Cache
from topcoat.specs.projects import Projects

_CACHE = Cache("deliveries", 3)

# An image that was pushed earlier is confirmed by its labels instead.
_MAX_DIGESTS = 100
_MAX_TRUSTED_S = 24 * 3600.0


class PushRecord(NamedTuple):
    """The last image that a destination received of one workspace.

    Attributes:
        tag: the image's tag.
        layer_keys: keys of its code layers, bottom first, without the hot layer.
        blobs: digests of everything that its manifest refers to, or the diff ids of its layers in an engine.
        digests: what each tag that this machine pushed or confirmed refers to, the newest last: the digest of a
            manifest, or the id of an image in an engine.
        checked: the time (``time.time``) since which the destination is known to have all of *blobs*.
    """

    tag: str
    layer_keys: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    digests: Mapping[str, str] = MappingProxyType({})
    checked: float = 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether the blobs were checked within a day; not if the clock was set back since."""
        return 0 <= time.time() - self.checked < _MAX_TRUSTED_S

    def with_digest(self, tag: str, digest: str) -> PushRecord:
        """Return the record of a machine that knows what *tag* refers to."""
        digests = {name: value for name, value in self.digests.items() if name != tag}
        return self._replace(digests=dict([*list(digests.items())[1 - _MAX_DIGESTS :], (tag, digest)]))


def workspace_key(workspace: Projects) -> str:
    """Name *workspace* by its absolute paths, so that two directories never share a record."""
    projects = [
        (source if "://" in source else os.path.abspath(source), target) for source, target in workspace.resolved()
    ]
    return ";".join([f"{source}:{target}" if target else source for source, target in projects])


def last_push_record(*key: str) -> PushRecord | None:
    """Return the record of *key*, None if it does not exist."""
    return _CACHE.read_json("\0".join(key), _parse)


def write_push_record(record: PushRecord, *key: str) -> None:
    """Store *record* as the last one of *key*."""
    _CACHE.write_json("\0".join(key), {**record._asdict(), "digests": dict(record.digests)})


def _parse(value: Any) -> PushRecord:
    digests = {str(tag): str(digest) for tag, digest in value["digests"].items()}
    checked = float(value["checked"])
    return PushRecord(value["tag"], tuple(value["layer_keys"]), tuple(value["blobs"]), digests, checked)
