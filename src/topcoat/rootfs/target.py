"""Where in an image a directory really is, and which directories a layer has to repeat to leave them as they are.

A layer that omits or misstates a directory above its entries resets that directory, and one that goes through a
link of the base replaces the link; ``COPY`` does neither (BuildKit resolves the destination inside the image's root).
"""

from __future__ import annotations

import os
import posixpath
from typing import NamedTuple

from topcoat.errors import InvalidImage
from topcoat.pack.layer import Directory
from topcoat.pack.tar import Ownership
from topcoat.rootfs.nodes import BaseTree

# As many as BuildKit follows.
_MOST_LINKS = 255
_SET_GROUP = 0o2000


class ResolvedTarget(NamedTuple):
    """A place in an image.

    Attributes:
        target: the directory, links resolved, without leading slash; empty for the root.
        parents: *target* and the directories above it, topmost first, as a layer has to repeat them.
        assumed: those of them that are taken for root's, 0755, because the base was not read far enough to know.
    """

    target: bytes
    parents: tuple[Directory, ...]
    assumed: tuple[bytes, ...] = ()


def resolve_target(tree: BaseTree, directory: bytes, owner: Ownership | None = None) -> ResolvedTarget:
    """Find *directory* in the image of *tree*; what does not exist there is to be made.

    It belongs to *owner*. None is root, and below a directory with the set-group-id bit the group of that one; the bit
    is handed down either way, as where a kernel makes directories.

    Raises:
        InvalidImage: something on the way is no directory, or links go round in a circle.
    """
    waiting = directory.split(b"/")[::-1]
    parents: list[Directory] = []
    assumed: list[bytes] = []
    links = 0
    while waiting:
        name = waiting.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            parents = parents[:-1]
            continue
        path = parents[-1].path + b"/" + name if parents else name
        node = tree.find(path)
        if node is None:
            parents.append(_made(path, parents[-1] if parents else Directory(b""), owner))
        elif node.kind == "dir":
            parents.append(Directory(path, node.mode, Ownership(node.uid, node.gid)))
        elif node.kind == "unknown":
            assumed.append(path)
            parents.append(Directory(path))
        elif node.kind == "link":
            links += 1
            if links > _MOST_LINKS:
                raise InvalidImage(f"/{os.fsdecode(directory)} is behind too many links in the base image")
            link = node.link
            if link.startswith(b"/"):
                parents = []
            elif link:
                # As BuildKit does, and unlike the kernel: ``..`` takes back a name even where that is a link.
                link = posixpath.normpath(link)
            waiting += link.split(b"/")[::-1]
        else:
            raise InvalidImage(
                f"/{os.fsdecode(directory)} cannot be a directory: /{os.fsdecode(path)} of the base image is a file",
                hint="choose another directory for the code: -cfg workspace_dir=/app",
            )
    there = {parent.path for parent in parents}
    return ResolvedTarget(
        parents[-1].path if parents else b"", tuple(parents), tuple(path for path in assumed if path in there)
    )


def _made(path: bytes, above: Directory, owner: Ownership | None) -> Directory:
    handed_down = above.mode & _SET_GROUP
    inherited = Ownership(0, above.owner.gid) if handed_down else Ownership()
    return Directory(path, 0o755 | handed_down, inherited if owner is None else owner)
