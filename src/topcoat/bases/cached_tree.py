"""What was found out about a base image, kept on disk: the same question is never asked twice.

Answers are kept by what decides them: the base's layers, whether a registry or an engine was asked, and the limit. So
they never go stale, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from topcoat.rootfs.nodes import ImageNode
from topcoat.state import cache_dir, write_atomic

if TYPE_CHECKING:
    from topcoat.bases.base import Base
    from topcoat.rootfs.nodes import BaseTree, OpenTree

_FORMAT = "topcoat tree 1"
_KINDS = frozenset({"dir", "file", "link", "other", "unknown"})


class CachedTree:
    """A `BaseTree` that looks into the image only for what was not asked before."""

    def __init__(self, base: Base, limit: int | None, look: Callable[[], OpenTree]) -> None:
        """Answer for *base* read up to *limit* bytes; *look* gives the tree that finds out what is not known yet."""
        source = "registry" if base.registry else "engine"
        key = json.dumps([_FORMAT, source, limit, base.config.diff_ids]).encode()
        self._file = cache_dir("trees") / hashlib.sha256(key).hexdigest()[:32]
        self._look = look
        self._stack = ExitStack()
        self._inner: BaseTree | None = None
        self._found = _read_found(self._file)
        self._new = False

    def __enter__(self) -> CachedTree:
        """Return the tree; the image is not looked into yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what was found out, and let go of what was opened for it."""
        self._stack.close()
        if self._new:
            notes = {_text(path): node and _note(node) for path, node in self._found.items()}
            write_atomic(self._file, json.dumps(notes).encode())
            self._new = False

    def knows(self, path: bytes) -> bool:
        """Tell whether `find` can answer for *path* without looking."""
        return path in self._found

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, None where there is nothing, ``UNKNOWN`` where that was not to be found out."""
        if path not in self._found:
            self._found[path] = self._tree().find(path)
            self._new = True
        return self._found[path]

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what was known to be below *directory* when that was asked first."""
        file = self._file.with_name(f"{self._file.name}-{hashlib.sha256(directory).hexdigest()[:16]}")
        known = _read_below(file)
        if known is not None:
            return known
        found = self._tree().below(directory)
        _write_below(file, found)
        return found

    def _tree(self) -> BaseTree:
        if self._inner is None:
            self._inner = self._stack.enter_context(self._look())
        return self._inner


def _read_found(file: Path) -> dict[bytes, ImageNode | None]:
    try:
        notes = json.loads(file.read_bytes())
        return {_bytes(path): note and _node(note) for path, note in notes.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _read_below(file: Path) -> dict[bytes, ImageNode] | None:
    try:
        data = file.read_bytes()
        body = data[32:]
        if hashlib.sha256(body).digest() != data[:32]:
            return None
    except OSError:
        return None
    found: dict[bytes, ImageNode] = {}
    for group in body.split(b"\0\0") if body else ():
        note, *paths = group.split(b"\0")
        found.update(dict.fromkeys(paths, _node(json.loads(note))))
    return found


def _write_below(file: Path, found: Mapping[bytes, ImageNode]) -> None:
    # Most files of an image have one of a few modes and owners, so each of these is written once.
    groups: dict[ImageNode, list[bytes]] = {}
    for path, node in found.items():
        groups.setdefault(node, []).append(path)
    body = b"\0\0".join([b"\0".join([json.dumps(_note(node)).encode(), *paths]) for node, paths in groups.items()])
    write_atomic(file, hashlib.sha256(body).digest() + body)


def _note(node: ImageNode) -> list[object]:
    return [*node[:4], _text(node.link)]


def _node(note: list[object]) -> ImageNode:
    kind, mode, uid, gid, link = note
    if kind not in _KINDS or not all(isinstance(number, int) for number in (mode, uid, gid)):
        raise ValueError("not a note of a node")
    return ImageNode(kind, mode, uid, gid, _bytes(link))  # type: ignore[arg-type]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(text: object) -> bytes:
    return str(text).encode("utf-8", "surrogateescape")
