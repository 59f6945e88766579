"""The file system that instructions change: a base image, and the entries put over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from topcoat.dockerfile.paths import join, not_a_directory
from topcoat.errors import InvalidImage
from topcoat.notices import notice
from topcoat.pack.tar import Ownership, derived_mtime
from topcoat.rootfs.nodes import BaseTree, ImageNode
from topcoat.rootfs.target import resolve_target
from topcoat.scan.pattern import decode
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.scan.tree import Tree

ROOT = Ownership()
_SET_GROUP = 0o2000
# New directories have the date of the directories that a layer repeats.
FIXED = derived_mtime(Entry(b"", "dir", 0o755, 0, b"", 0)) * 1_000_000_000


class Item(NamedTuple):
    """An entry of the new image; for a file, also the tree and the path in it that hold the content."""

    entry: Entry
    source: tuple[Tree, str] | None = None


class ImageFilesystem:
    """The entries put over *base* so far. Paths are bytes, relative to the root, and resolved."""

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
        """Look *path* up in the base, once, and only if its directory exists."""
        # Without recursion: a path can have two thousand components.
        missing: list[bytes] = []
        while path and path not in self._found:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        node = self._found[path] if path else ImageNode("dir")
        for path in reversed(missing):
            is_dir = node is not None and node.kind in ("dir", "unknown")
            node = self._found[path] = self._base.find(path) if is_dir else None
        return node

    def learn(self, directory: bytes) -> None:
        """Record the paths below *directory*, which exists, that the base has read already."""
        if directory and directory not in self._learned and self._found.get(directory) is not None:
            self._learned.add(directory)
            for path, node in self._base.below(directory).items():
                self._known[join(directory, path)] = node

    def known(self, path: bytes) -> ImageNode | None:
        """Return what is known to be at *path*, without a look-up; None if unknown.

        Looking up each file of a copied directory would read most of an image, for a collision that is rare.
        """
        if path in self._items:
            return self.find(path)
        return self._found[path] if path in self._found else self._known.get(path)

    def assume(self, path: bytes) -> None:
        """Add *path* to the warning that the base was not read far enough."""
        self._assumed[path] = None

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what is known to be below *directory*, as `BaseTree.below` does."""
        start = directory + b"/" if directory else b""
        nodes = dict(self._base.below(directory))
        for path in self._items:
            node = self.find(path)
            if path.startswith(start) and node is not None:
                nodes[path[len(start) :]] = node
        return nodes

    def put(self, entry: Entry, source: tuple[Tree, str] | None = None) -> None:
        """Put *entry* at its path. It replaces what the image has there."""
        owner = entry.owner if entry.owner and tuple(entry.owner) != tuple(ROOT) else None
        self._items[entry.path] = Item(entry._replace(owner=owner), source)

    def make_directories(self, path: bytes, mode: int = 0o755, owner: tuple[int, int] | None = None) -> bytes:
        """Create the directory *path*, and missing directories above it; return the resolved path.

        A directory made below one with the set-group-id bit has that bit too and, without an *owner*, its group.

        Raises:
            ValueError: a component is not a directory.
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
                self.assume(parent.path)
                self.put(Entry(parent.path, "dir", 0o755, 0, b"", FIXED))
        return landing.target

    def scan(self, *, preserve_mtimes: bool) -> Scan:
        """Return the entries as a snapshot of the root, with the directories above them as the base has them."""
        items = dict(self._items)
        for path in self._items:
            above = path.rpartition(b"/")[0]
            while above and above not in items:
                items[above] = Item(self._repeated(above))
                above = above.rpartition(b"/")[0]
        sources = {path: item.source for path, item in items.items() if item.source}
        if self._assumed:
            names = ", ".join([f"/{decode(path)}" for path in self._assumed])
            what = "assuming directories of root with mode 0755, and new files"
            notice(f"the base image was not read as far as {names} (base_scan_limit): {what}")
        entries = [item.entry for item in items.values()]
        return Scan(Snapshot(entries, preserve_mtimes=preserve_mtimes), sources)

    def _repeated(self, path: bytes) -> Entry:
        node = self._find_in_base(path)
        if node is None or node.kind != "dir":
            self.assume(path)
            node = ImageNode("dir")
        owner = (node.uid, node.gid)
        return Entry(path, "dir", node.mode, 0, b"", FIXED, owner if owner != tuple(ROOT) else None)
