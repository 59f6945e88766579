"""A cache of what was read from base images, so that no image is read twice.

The key holds everything that decides a result: the base's layers, whether a registry or an engine was asked, and the
limit. So entries never go stale.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from topcoat.records import Cache
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.pattern import decode, encode

if TYPE_CHECKING:
    from topcoat.bases.base import Base
    from topcoat.rootfs.nodes import BaseTree, OpenTree

_CACHE = Cache("trees", 2)
_KINDS = frozenset({"dir", "file", "link", "other", "unknown"})


class CachedTree:
    """A `BaseTree` that reads the image only for paths that are not in the cache."""

    def __init__(self, base: Base, max_bytes: int | None, open_tree: Callable[[], OpenTree]) -> None:
        """Cache what *open_tree* returns of *base*, of whose layers it reads at most *max_bytes*."""
        source = "registry" if base.registry else "engine"
        self._key = json.dumps([source, max_bytes, base.config.diff_ids])
        self._open_tree = open_tree
        self._stack = ExitStack()
        self._inner: BaseTree | None = None
        self._nodes = _CACHE.read_json(self._key, _parse_nodes) or {}
        self._is_changed = False

    def __enter__(self) -> CachedTree:
        return self

    def __exit__(self, *_: object) -> None:
        """Store what was read, and close the image."""
        self._stack.close()
        if self._is_changed:
            records = {decode(path): node and _record(node) for path, node in self._nodes.items()}
            _CACHE.write_json(self._key, records)
            self._is_changed = False

    def knows(self, path: bytes) -> bool:
        """Tell whether *path* is in the cache."""
        return path in self._nodes

    def find(self, path: bytes) -> ImageNode | None:
        if path not in self._nodes:
            self._nodes[path] = self._tree().find(path)
            self._is_changed = True
        return self._nodes[path]

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what was known below *directory* at the first call."""
        key = f"{self._key}\0{decode(directory)}"
        cached = _CACHE.read(key, _parse_below)
        if cached is not None:
            return cached
        nodes = self._tree().below(directory)
        _CACHE.write(key, _format_below(nodes))
        return nodes

    def _tree(self) -> BaseTree:
        if self._inner is None:
            self._inner = self._stack.enter_context(self._open_tree())
        return self._inner


def _parse_nodes(records: dict[str, Any]) -> dict[bytes, ImageNode | None]:
    return {encode(path): record and _node(record) for path, record in records.items()}


def _parse_below(body: bytes) -> dict[bytes, ImageNode]:
    nodes: dict[bytes, ImageNode] = {}
    for group in body.split(b"\0\0") if body else ():
        record, *paths = group.split(b"\0")
        nodes.update(dict.fromkeys(paths, _node(json.loads(record))))
    return nodes


def _format_below(nodes: Mapping[bytes, ImageNode]) -> bytes:
    # Most files of an image have one of a few modes and owners, so each of these is written once.
    groups: dict[ImageNode, list[bytes]] = {}
    for path, node in nodes.items():
        groups.setdefault(node, []).append(path)
    return b"\0\0".join([b"\0".join([json.dumps(_record(node)).encode(), *paths]) for node, paths in groups.items()])


def _record(node: ImageNode) -> list[object]:
    return [*node[:4], decode(node.link)]


def _node(record: list[object]) -> ImageNode:
    kind, mode, uid, gid, link = record
    if kind not in _KINDS or not all(isinstance(number, int) for number in (mode, uid, gid)):
        raise ValueError("not a record of a node")
    return ImageNode(kind, mode, uid, gid, encode(link))  # type: ignore[arg-type]
