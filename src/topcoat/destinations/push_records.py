"""What deliveries have in common: what they belong to, what is remembered of them, how often they are tried."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from topcoat.errors import WorkspaceChanged
from topcoat.notices import notices_once
from topcoat.specs.projects import Projects
from topcoat.state import cache_dir, write_atomic

T = TypeVar("T")

_TRIES = 3


def context_of(workspace: Projects) -> str:
    """Name *workspace* by its absolute paths, so that two directories never share what is remembered."""
    projects = [
        (source if "://" in source else os.path.abspath(source), target) for source, target in workspace.resolved()
    ]
    return ";".join([f"{source}:{target}" if target else source for source, target in projects])


def until_settled(attempt: Callable[[], T]) -> T:
    """Return what *attempt* returns, started over where a file changes under its hands, three times at most.

    Raises:
        WorkspaceChanged: the last time too.
    """
    with notices_once():
        for _ in range(_TRIES - 1):
            try:
                return attempt()
            except WorkspaceChanged:
                continue
        return attempt()


class PushRecord(NamedTuple):
    """What a destination remembers of the last image it received in a context.

    Attributes:
        tag: the image's tag.
        chunks: keys of its chunks, bottom first, without the hot layer.
        blobs: digests of everything its manifest refers to, or the diff ids of its layers in a daemon.
    """

    tag: str
    chunks: tuple[str, ...]
    blobs: tuple[str, ...]


def last_push_record(*context: str) -> PushRecord | None:
    """Recall the last delivery in *context*; None where there was none."""
    try:
        found = json.loads((cache_dir("deliveries") / _file_name(context)).read_bytes())
        return PushRecord(found["tag"], tuple(found["chunks"]), tuple(found["blobs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_push_record(delivery: PushRecord, *context: str) -> None:
    """Remember *delivery* as the last one in *context*.

    Raises:
        StateError: the note cannot be written.
    """
    note: Mapping[str, object] = delivery._asdict()
    write_atomic(cache_dir("deliveries") / _file_name(context), json.dumps(note).encode())


def _file_name(context: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(context).encode("utf-8", "surrogateescape")).hexdigest()[:32]
