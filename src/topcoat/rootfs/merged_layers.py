"""What the layers of an image make together, read from the top down and only as far as somebody asks.

The rules are those of the OCI image specification (*layer*, applying changesets): ``.wh.NAME`` deletes NAME of the
layers below, ``.wh..wh..opq`` all that they have in its directory, and what is no directory hides what they have there.
"""

from __future__ import annotations

from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.rootfs.untar import Member

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
# Directories that layers have entries in and none of their own for, which engines make like this.
_IMPLIED = ImageNode("dir")


class MergedLayers:
    """Collects members, layer by layer, the topmost layer first."""

    def __init__(self) -> None:
        # What was found, by path: None where a layer deletes it and none above has it. Some of it in many copies.
        self._nodes: dict[bytes, ImageNode | None] = {}
        self._same: dict[ImageNode, ImageNode] = {}
        # Directories that have entries, and so far none of their own.
        self._implied: set[bytes] = set()
        # Below these, further layers have nothing to say.
        self._closed: set[bytes] = set()
        self._begin()
        self._complete = False

    def _begin(self) -> None:
        # The layer in progress: whatever it hides, it hides from the layers below.
        self._fresh: dict[bytes, ImageNode] = {}
        self._closing: set[bytes] = set()
        self._deleted: set[bytes] = set()
        self._open: dict[bytes, bool] = {}

    def add(self, member: Member) -> None:
        """Take the next member of the layer in progress."""
        path, kind = member.path, member.kind
        parent, _, name = path.rpartition(b"/")
        if not path or not self._is_open(parent):
            return
        if name.startswith(_WHITEOUT):
            if name == _OPAQUE:
                self._closing.add(parent)
            elif not name.startswith(b".wh..wh."):
                self._deleted.add(path[: len(path) - len(name)] + name[len(_WHITEOUT) :])
            return
        if kind != "dir":
            self._closing.add(path)
        if path in self._nodes:
            return
        if path in self._implied and kind != "dir":
            self._fresh[path] = _IMPLIED
            return
        node = ImageNode(kind, member.mode, member.uid, member.gid, member.link if kind == "link" else b"")
        self._fresh[path] = self._same.setdefault(node, node)

    def _is_open(self, directory: bytes) -> bool:
        """Tell whether the layers above let through what this one has in *directory*; note that it has something."""
        known = self._open.get(directory)
        if known is None:
            known = directory not in self._closed and (not directory or self._is_open(directory.rpartition(b"/")[0]))
            self._open[directory] = known
        return known

    def end_layer(self) -> None:
        """Go on to the layer below."""
        self._nodes.update(self._fresh)
        self._closed |= self._closing | self._deleted
        self._implied |= self._entered()
        for path in self._deleted:
            # Deleted below, and not made here, or only by what is in it.
            self._nodes.setdefault(path, _IMPLIED if path in self._implied else None)
        self._implied -= self._nodes.keys()
        self._begin()

    def _entered(self) -> set[bytes]:
        """Return the directories that the layer in progress has something in."""
        return {path for path, visible in self._open.items() if visible and path}

    def end(self) -> None:
        """Say that there is no layer below."""
        self.end_layer()
        self._complete = True

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, None where there is nothing, ``UNKNOWN`` where a layer below has to tell."""
        if path in self._nodes:
            return self._nodes[path]
        if path in self._fresh:
            return self._fresh[path]
        if self._complete or self._is_shut(path):
            return _IMPLIED if path in self._implied else None
        return UNKNOWN

    def _is_shut(self, path: bytes) -> bool:
        """Tell whether nothing that the layers below have at *path* would count."""
        while path:
            path = path.rpartition(b"/")[0]
            if path in self._closed:
                return True
        return False

    def below(self, directory: bytes) -> dict[bytes, ImageNode]:
        """Return what is known to be below *directory*, by paths relative to it."""
        prefix = directory + b"/" if directory else b""
        start = len(prefix)
        found = {path[start:]: _IMPLIED for path in self._implied | self._entered() if path.startswith(prefix)}
        for nodes in (self._nodes, self._fresh):
            found.update((path[start:], node) for path, node in nodes.items() if node and path.startswith(prefix))
        found.pop(b"", None)
        return found
