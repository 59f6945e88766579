"""The merged file system of an image's layers, read from the top layer down, and only as far as needed.

The rules are those of the OCI image specification (*layer*, applying changesets): ``.wh.NAME`` deletes NAME from the
layers below, ``.wh..wh..opq`` deletes the content of its directory from them, and a file or link hides what they have
below its path.
"""

from __future__ import annotations

from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.rootfs.untar import Member

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
# Engines make directories like this if a layer has entries in them and no entry for them.
_IMPLIED = ImageNode("dir")


class MergedLayers:
    """Collects the members of layers, the top layer first."""

    def __init__(self) -> None:
        # By path; None if a layer deletes the path and no layer above has it.
        self._nodes: dict[bytes, ImageNode | None] = {}
        # One object for all equal nodes.
        self._same: dict[ImageNode, ImageNode] = {}
        # Directories that have entries below them, and so far no entry for themselves.
        self._implied: set[bytes] = set()
        # Lower layers do not count below these.
        self._closed: set[bytes] = set()
        # Bytes of the names that are kept.
        self.name_bytes = 0
        self._begin()
        self._complete = False

    def _begin(self) -> None:
        # The current layer: what it hides, it hides from the layers below.
        self._fresh: dict[bytes, ImageNode] = {}
        self._closing: set[bytes] = set()
        self._deleted: set[bytes] = set()
        self._open: dict[bytes, bool] = {}

    def add(self, member: Member) -> None:
        """Add the next member of the current layer."""
        path, kind = member.path, member.kind
        parent, _, name = path.rpartition(b"/")
        if not path or not self._is_open(parent):
            return
        self.name_bytes += len(path)
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
        """Tell whether entries of the current layer in *directory* are visible; record that it has entries there."""
        undecided = []
        while (is_open := self._open.get(directory)) is None:
            undecided.append(directory)
            self.name_bytes += len(directory)
            if directory in self._closed or not directory:
                is_open = directory not in self._closed
                break
            directory = directory.rpartition(b"/")[0]
        self._open.update(dict.fromkeys(undecided, is_open))
        return is_open

    def end_layer(self) -> None:
        """Continue with the layer below."""
        self._nodes.update(self._fresh)
        self._closed |= self._closing | self._deleted
        self._implied |= self._entered()
        for path in self._deleted:
            # Deleted in lower layers, and not made by this one, except by its entries below the path.
            self._nodes.setdefault(path, _IMPLIED if path in self._implied else None)
        self._implied -= self._nodes.keys()
        self._begin()

    def _entered(self) -> set[bytes]:
        """Return the directories in which the current layer has visible entries."""
        return {path for path, visible in self._open.items() if visible and path}

    def end(self) -> None:
        """Finish: there is no layer below."""
        self.end_layer()
        self._complete = True

    def find(self, path: bytes) -> ImageNode | None:
        """Return the node at *path*, None if it does not exist, ``UNKNOWN`` if it depends on the layers below."""
        if path in self._nodes:
            return self._nodes[path]
        if path in self._fresh:
            return self._fresh[path]
        if self._complete or self._is_hidden(path):
            return _IMPLIED if path in self._implied else None
        return UNKNOWN

    def _is_hidden(self, path: bytes) -> bool:
        """Tell whether lower layers do not count at *path*."""
        while path:
            path = path.rpartition(b"/")[0]
            if path in self._closed:
                return True
        return False

    def below(self, directory: bytes) -> dict[bytes, ImageNode]:
        """Return the known nodes below *directory*, by paths relative to it."""
        prefix = directory + b"/" if directory else b""
        start = len(prefix)
        nodes_below = {path[start:]: _IMPLIED for path in self._implied | self._entered() if path.startswith(prefix)}
        for nodes in (self._nodes, self._fresh):
            nodes_below.update((path[start:], node) for path, node in nodes.items() if node and path.startswith(prefix))
        nodes_below.pop(b"", None)
        return nodes_below
