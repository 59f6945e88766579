"""The file system of a base image, as far as one has to know it to lay code over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

NodeKind = Literal["dir", "file", "link", "other", "unknown"]


class ImageNode(NamedTuple):
    """What an image has at a path, links not followed.

    Attributes:
        kind: ``other`` is a device, a socket or a pipe; ``unknown`` is a path that lies further down in the image
            than was read.
        mode: permission bits, set-id and sticky bits included.
        uid: numeric owner.
        gid: numeric group.
        link: target of a symbolic link.
    """

    kind: NodeKind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    link: bytes = b""


UNKNOWN = ImageNode("unknown")


class BaseTree(Protocol):
    """Looks up paths in a base image; paths are bytes, without leading or trailing slash."""

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, None where there is nothing, ``UNKNOWN`` where that was not to be found out.

        No component of *path* may be a link: resolve those above first.
        """

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what is known to be below *directory*, by paths relative to it; not all of it need be known."""


class OpenTree(BaseTree, Protocol):
    """A `BaseTree` that may hold a connection or a container, from the first question to the end of its ``with``."""

    def __enter__(self) -> BaseTree:
        """Return the tree; nothing is opened yet."""

    def __exit__(self, *_: object) -> None:
        """Let go of what was opened."""
