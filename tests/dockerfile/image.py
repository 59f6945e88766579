"""Images in memory, for Dockerfiles to start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topcoat.dockerfile.evaluate import StageBase
from topcoat.oci.config import ImageConfig
from topcoat.rootfs.nodes import UNKNOWN, ImageNode


class Image:
    """A `BaseTree` whose content is given; directories above a path are root's, and ``asked`` says what was looked up.

    With *unread*, every other path is unknown.
    """

    def __init__(self, nodes: Mapping[str, ImageNode], *, unread: bool = False) -> None:
        self._nodes = {path.encode(): node for path, node in nodes.items()}
        for path in list(self._nodes):
            above = path.rpartition(b"/")[0]
            while above:
                self._nodes.setdefault(above, ImageNode("dir"))
                above = above.rpartition(b"/")[0]
        self._unread = unread
        self.asked: list[bytes] = []

    def find(self, path: bytes) -> ImageNode | None:
        assert path
        above = path
        while above := above.rpartition(b"/")[0]:
            assert self._nodes.get(above, UNKNOWN).kind in ("dir", "unknown"), f"{path!r} goes through {above!r}"
        self.asked.append(path)
        return self._nodes.get(path, UNKNOWN if self._unread else None)

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        start = directory + b"/"
        return {path[len(start) :]: node for path, node in self._nodes.items() if path.startswith(start)}


def origin(image: Image | None = None, platform: str = "linux/amd64", **settings: Any) -> StageBase:
    """Return *image* with a config of these *settings*."""
    os, architecture = platform.split("/")
    document = {
        "os": os,
        "architecture": architecture,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return StageBase(ImageConfig(document), image or Image({}))
