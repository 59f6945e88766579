"""Records of the last delivery of each workspace, so that the next one sends only what has changed."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from topcoat.records import Cache
from topcoat.specs.projects import Projects

_CACHE = Cache("deliveries", 2)


class PushRecord(NamedTuple):
    """The last image that a destination received of one workspace.

    Attributes:
        tag: the image's tag.
        layer_keys: keys of its code layers, bottom first, without the hot layer.
        blobs: digests of everything that its manifest refers to, or the diff ids of its layers in an engine.
    """

    tag: str
    layer_keys: tuple[str, ...]
    blobs: tuple[str, ...]


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
    _CACHE.write_json("\0".join(key), record._asdict())


def _parse(value: Any) -> PushRecord:
    return PushRecord(value["tag"], tuple(value["layer_keys"]), tuple(value["blobs"]))
