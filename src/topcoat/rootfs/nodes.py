"""The nodes of a base image's file system, and the protocols that look them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

NodeKind = Literal["dir", "file", "link", "other", "unknown"]


class ImageNode(NamedTuple):
    """A path of an image, links not followed.

    Attributes:
        kind: ``other`` is a device, a socket or a FIFO; ``unknown`` is a path in layers that were not read.
        mode: permission bits, set-id and sticky bits included.
        link: target of a symbolic link.
    """

    kind: NodeKind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    link: bytes = b""


UNKNOWN = ImageNode("unknown")


class BaseTree(Protocol):
    """Looks up paths in a base image. Paths are bytes, without leading or trailing slash."""

    def find(self, path: bytes) -> ImageNode | None:
        """Return the node at *path*, None if it does not exist, ``UNKNOWN`` if that is not known.

        No directory of *path* may be a link: resolve these first.
        """

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return the known nodes below *directory*, by paths relative to it; others may exist."""


class OpenTree(BaseTree, Protocol):
    """A `BaseTree` that may hold a connection or a container, from the first look-up to the end of its ``with``."""

    def __enter__(self) -> BaseTree:
        """Return the tree; it opens nothing yet."""

    def __exit__(self, *_: object) -> None:
        """Close what was opened."""
