"""The directory of a base image that code is laid into, and whether the code fits there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from topcoat.bases.base import Base, BaseSource
from topcoat.bases.cached_tree import CachedTree
from topcoat.errors import InvalidImage
from topcoat.notices import notice
from topcoat.pack.tar import Ownership
from topcoat.rootfs.conflicts import check_collisions
from topcoat.rootfs.nodes import ImageNode
from topcoat.rootfs.target import ResolvedTarget, resolve_target
from topcoat.scan.names import decode
from topcoat.scan.snapshot import Snapshot

MEGABYTE = 1_000_000


class CodeLocation(NamedTuple):
    """Where code is in a base image.

    Attributes:
        target: the directory with links resolved, and the directories above it.
        below: what the base has in it, as far as it was read, by relative path.
    """

    target: ResolvedTarget
    below: Mapping[bytes, ImageNode]


def cached_tree(source: BaseSource, base: Base, max_bytes: int | None) -> CachedTree:
    """Return the file system of *base*, cached, reading at most *max_bytes* of its layers from *source*."""
    return CachedTree(base, max_bytes, lambda: source.open_tree(base, max_bytes))


def locate_code(
    source: BaseSource, base: Base, directory: bytes, owner: Ownership | None, max_bytes: int
) -> CodeLocation:
    """Look up *directory* in *base*, reading at most *max_bytes* of its layers as they are stored.

    Directories that do not exist yet will belong to *owner*, as in `resolve_target`.

    Raises:
        InvalidImage: there cannot be such a directory, or a layer is damaged.
        RegistryError, DaemonError: *source* fails.
    """
    with cached_tree(source, base, max_bytes) as tree:
        target = resolve_target(tree, directory, owner)
        below = tree.below(target.target) if target.target else {}
    if target.assumed and max_bytes:
        names = ", ".join("/" + decode(path) for path in target.assumed)
        notice(
            f"{names} of {base.name} is not in the {max_bytes // MEGABYTE} MB that base_scan_limit allows to read: "
            "assuming a directory of root with mode 0755"
        )
    return CodeLocation(target, below)


def check_code_location(
    source: BaseSource, base: Base, location: CodeLocation, snapshot: Snapshot, max_bytes: int
) -> None:
    """Check that *snapshot* can be laid into *location*.

    At the root of an image, a directory in place of a link (``/bin``, ``/lib``) or a file in place of a directory would
    leave the image without its programs. So what the base has in place of the snapshot's top entries is always looked
    up, past *max_bytes* if necessary.

    Raises:
        PathConflict: a directory of one is something else in the other.
        InvalidImage: the root of the base cannot be read.
        RegistryError, DaemonError: *source* fails.
    """
    directory, below = location.target.target, location.below
    if not directory:
        names = [entry.path for entry in snapshot.entries if b"/" not in entry.path]
        below = _look_up_root(source, base, names, max_bytes) if names else {}
    if below:
        check_collisions(snapshot, directory, below)


def _look_up_root(source: BaseSource, base: Base, names: list[bytes], max_bytes: int) -> Mapping[bytes, ImageNode]:
    with cached_tree(source, base, None) as tree:
        # An engine is asked for a few paths only, whatever its layers weigh.
        size = sum([layer.size for layer in base.manifest.layers]) if base.registry else 0
        if size > max_bytes and not all(map(tree.knows, names)):
            notice(
                f"reading up to {max(size // MEGABYTE, 1)} MB of {base.name}, once: the code goes to its root and must "
                "not replace links there; -cfg workspace_dir=/app avoids this"
            )
        nodes: dict[bytes, ImageNode] = {}
        for name in names:
            node = tree.find(name)
            if node is not None and node.kind == "unknown":
                raise InvalidImage(
                    f"{base.name} has a layer that cannot be read, so its /{decode(name)} may be a link",
                    hint="choose another directory for the code: -cfg workspace_dir=/app",
                )
            if node is not None:
                nodes[name] = node
        return {**tree.below(b""), **nodes}
