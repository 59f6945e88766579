"""Resolve the links of a directory in an image, and find the directories that a layer must repeat unchanged.

A layer that omits a directory above its entries, or has it with other attributes, resets that directory; a layer whose
path goes through a link of the base replaces the link. ``COPY`` does neither (BuildKit resolves the destination inside
the image's root).
"""

from __future__ import annotations

import posixpath
from typing import NamedTuple

from topcoat.errors import InvalidImage
from topcoat.pack.layer import Directory
from topcoat.pack.tar import Ownership
from topcoat.rootfs.nodes import BaseTree
from topcoat.scan.names import decode

# BuildKit's limit.
_MAX_LINKS = 255
_SET_GROUP = 0o2000


class ResolvedTarget(NamedTuple):
    """A directory in an image.

    Attributes:
        target: its path, links resolved, without leading slash; empty for the root.
        parents: *target* and the directories above it, topmost first, as a layer has to repeat them.
        assumed: the parents that are assumed to be root:root 0755, because the base was not read far enough.
    """

    target: bytes
    parents: tuple[Directory, ...]
    assumed: tuple[bytes, ...] = ()


def resolve_target(tree: BaseTree, directory: bytes, owner: Ownership | None = None) -> ResolvedTarget:
    """Resolve *directory* in the image of *tree*; directories that do not exist will be made by the layer.

    *owner* owns the made ones; None means root, and below a directory with the set-group-id bit the group of that
    directory. The bit is inherited in both cases, as if a kernel made the directories.

    Raises:
        InvalidImage: a component is not a directory, or links form a cycle.
    """
    names = directory.split(b"/")[::-1]
    parents: list[Directory] = []
    assumed: list[bytes] = []
    links = 0
    while names:
        name = names.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            parents = parents[:-1]
            continue
        path = parents[-1].path + b"/" + name if parents else name
        node = tree.find(path)
        if node is None:
            above = parents[-1] if parents else Directory(b"")
            set_group = above.mode & _SET_GROUP
            inherited = Ownership(0, above.owner.gid) if set_group else Ownership()
            parents.append(Directory(path, 0o755 | set_group, inherited if owner is None else owner))
        elif node.kind == "dir":
            parents.append(Directory(path, node.mode, Ownership(node.uid, node.gid)))
        elif node.kind == "unknown":
            assumed.append(path)
            parents.append(Directory(path))
        elif node.kind == "link":
            links += 1
            if links > _MAX_LINKS:
                raise InvalidImage(f"too many links in the path /{decode(directory)} of the base image")
            link = node.link
            if link.startswith(b"/"):
                parents = []
            elif link:
                # As BuildKit does, and unlike the kernel: ``..`` removes the name before it even if that is a link.
                link = posixpath.normpath(link)
            names += link.split(b"/")[::-1]
        else:
            raise InvalidImage(
                f"/{decode(directory)} cannot be a directory: /{decode(path)} of the base image is a file",
                hint="choose another directory for the code: -cfg workspace_dir=/app",
            )
    paths = {parent.path for parent in parents}
    target = parents[-1].path if parents else b""
    return ResolvedTarget(target, tuple(parents), tuple(path for path in assumed if path in paths))
