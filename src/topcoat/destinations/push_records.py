"""Records of the last delivery of each workspace, so that the next one sends only what has changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from topcoat.specs.projects import Projects
from topcoat.state import cache_dir, write_cache


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
    try:
        record = json.loads(_path(key).read_bytes())
        return PushRecord(record["tag"], tuple(record["layer_keys"]), tuple(record["blobs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_push_record(record: PushRecord, *key: str) -> None:
    """Store *record* as the last one of *key*."""
    write_cache(_path(key), json.dumps(record._asdict()).encode())


def _path(key: tuple[str, ...]) -> Path:
    name = hashlib.sha256("\0".join(key).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_dir("deliveries") / name
