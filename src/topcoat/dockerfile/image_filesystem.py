"""The file system that instructions work on: what they put there, over what a base image has."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from topcoat.dockerfile.paths import decode, join, not_a_directory
from topcoat.errors import InvalidImage, WorkspaceNotFound
from topcoat.notices import notice
from topcoat.pack.tar import Ownership, derived_mtime
from topcoat.rootfs.nodes import BaseTree, ImageNode
from topcoat.rootfs.target import resolve_target
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.scan.tree import SourceNode, Tree

ROOT = Ownership()
_SET_GROUP = 0o2000
# What is made here has no date of its own; it is given the one of the directories that a layer repeats.
FIXED = derived_mtime(Entry(b"", "dir", 0o755, 0, b"", 0)) * 1_000_000_000


class Item(NamedTuple):
    """One path of the image to be: its entry, and the tree and path there that have its content, for a file."""

    entry: Entry
    origin: tuple[Tree, str] | None = None


class ImageFilesystem:
    """What has been put over *base* so far. Paths are bytes, relative to the root; all
    but `resolve_target`'s are resolved."""

    def __init__(self, base: BaseTree) -> None:
        self._base = base
        self._items: dict[bytes, Item] = {}
        self._found: dict[bytes, ImageNode | None] = {}
        self._known: dict[bytes, ImageNode] = {}
        self._learned: set[bytes] = set()
        self._assumed: dict[bytes, None] = {}

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, as `BaseTree.find` does."""
        item = self._items.get(path)
        if item is None:
            return self._find_in_base(path)
        entry = item.entry
        link = entry.content if entry.kind == "link" else b""
        return ImageNode(entry.kind, entry.mode, *(entry.owner or ROOT), link)

    def _find_in_base(self, path: bytes) -> ImageNode | None:
        """Look *path* up in the base, once, and not where there is nothing above it."""
        if not path:
            return ImageNode("dir")
        if path not in self._found:
            above = self._find_in_base(path.rpartition(b"/")[0])
            there = above is not None and above.kind in ("dir", "unknown")
            self._found[path] = self._base.find(path) if there else None
        return self._found[path]

    def learn(self, directory: bytes) -> None:
        """Take note of what is known to be below *directory*, which was found before; nothing is looked up for it."""
        if directory and directory not in self._learned and self._found.get(directory) is not None:
            self._learned.add(directory)
            for path, node in self._base.below(directory).items():
                self._known[join(directory, path)] = node

    def known(self, path: bytes) -> ImageNode | None:
        """Return what is known to be at *path*, without looking further; None where nothing is known.

        Looking up each file of a copied directory would read most of an image, for a collision that hardly ever is.
        """
        if path in self._items:
            return self.find(path)
        return self._found[path] if path in self._found else self._known.get(path)

    def assume(self, path: bytes) -> None:
        """Say in the end that the base was not read far enough to know what it has at *path*."""
        self._assumed[path] = None

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what is known to be below *directory*, as `BaseTree.below` does."""
        start = directory + b"/" if directory else b""
        found = dict(self._base.below(directory))
        for path in self._items:
            node = self.find(path)
            if path.startswith(start) and node is not None:
                found[path[len(start) :]] = node
        return found

    def put(self, entry: Entry, origin: tuple[Tree, str] | None = None) -> None:
        """Put *entry* at its path, in place of what is there."""
        owner = entry.owner if entry.owner and tuple(entry.owner) != tuple(ROOT) else None
        self._items[entry.path] = Item(entry._replace(owner=owner), origin)

    def put_text(self, path: bytes, content: bytes, mode: int, owner: tuple[int, int]) -> None:
        """Put a file with *content* at *path*."""
        digest = hashlib.sha256(content).digest()
        self.put(Entry(path, "file", mode, len(content), digest, FIXED, owner), (_Text(content), ""))

    def make_directories(self, path: bytes, mode: int = 0o755, owner: tuple[int, int] | None = None) -> bytes:
        """Make the directory *path* and those above it, as far as they are missing; return where it really is.

        What is made in a directory with the set-group-id bit has that bit too and, without an *owner*, its group.

        Raises:
            ValueError: something on the way is no directory.
        """
        try:
            landing = resolve_target(self, path)
        except InvalidImage as error:
            raise not_a_directory(error) from None
        for parent in landing.parents:
            node = self.find(parent.path)
            if node is None:
                above = self.find(parent.path.rpartition(b"/")[0]) or ImageNode("dir")
                inherited = (0, above.gid) if above.mode & _SET_GROUP else ROOT
                made = mode | (above.mode & _SET_GROUP)
                self.put(Entry(parent.path, "dir", made, 0, b"", FIXED, owner or inherited))
            elif node.kind == "unknown":
                self._assumed[parent.path] = None
                self.put(Entry(parent.path, "dir", 0o755, 0, b"", FIXED))
        return landing.target

    def scan(self, *, preserve_mtimes: bool) -> Scan:
        """Return what was put there, with the directories above it as the base has them, as a snapshot of the root."""
        items = dict(self._items)
        for path in self._items:
            above = path.rpartition(b"/")[0]
            while above and above not in items:
                items[above] = Item(self._repeated(above))
                above = above.rpartition(b"/")[0]
        origins = {path: item.origin for path, item in items.items() if item.origin}
        if self._assumed:
            names = ", ".join([f"/{decode(path)}" for path in self._assumed])
            what = "directories are taken for root's, 0755, and files for new"
            notice(f"the base image was not read as far as {names} (base_scan_limit): {what}")
        return Scan(Snapshot([item.entry for item in items.values()], preserve_mtimes=preserve_mtimes), origins)

    def _repeated(self, path: bytes) -> Entry:
        node = self._find_in_base(path)
        if node is None or node.kind != "dir":
            self._assumed[path] = None
            node = ImageNode("dir")
        owner = (node.uid, node.gid)
        return Entry(path, "dir", node.mode, 0, b"", FIXED, owner if owner != tuple(ROOT) else None)


class _Text:
    """A tree that has one file, whose content is known: the body of a here-document."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def list(self, path: str) -> list[SourceNode]:
        return []

    def stat(self, path: str) -> SourceNode:
        raise WorkspaceNotFound(f"there is no {path} in a here-document")

    def read(self, path: str) -> bytes:
        return self._content

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self._content)

    def readlink(self, path: str, node: SourceNode) -> str:
        raise WorkspaceNotFound(f"there is no link {path} in a here-document")
