"""Where code comes to lie in a base image, and whether it can lie there."""

from __future__ import annotations

import os
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
from topcoat.scan.snapshot import Snapshot

MEGABYTE = 1_000_000


class CodeLocation(NamedTuple):
    """A place in a base image.

    Attributes:
        landing: which directory it is, and what it takes to leave it as it is.
        below: what is known to be in it.
        warning: what the user should know of it; empty where there is nothing.
    """

    landing: ResolvedTarget
    below: Mapping[bytes, ImageNode]
    warning: str = ""


def cached_tree(source: BaseSource, base: Base, limit: int | None) -> CachedTree:
    """Return the tree of *base*, which *source* finds out *limit* bytes of, for what is not remembered."""
    return CachedTree(base, limit, lambda: source.tree_of(base, limit))


def locate_code(source: BaseSource, base: Base, directory: bytes, owner: Ownership | None, limit: int) -> CodeLocation:
    """Find *directory* in *base*, reading at most *limit* bytes of its layers as they are stored.

    What has to be made of it belongs to *owner*, as in `resolve_target`.

    Raises:
        InvalidImage: there can be no such directory, or a layer is damaged.
        RegistryError: and its kinds, when the registry cannot be reached or refuses.
        DaemonError: the engine refuses or does not answer.
    """
    with cached_tree(source, base, limit) as tree:
        landing = resolve_target(tree, directory, owner)
        below = tree.below(landing.target) if landing.target else {}
    if not landing.assumed or not limit:
        return CodeLocation(landing, below)
    names = ", ".join("/" + os.fsdecode(path) for path in landing.assumed)
    warning = (
        f"{names} of {base.name} could not be looked up in the {limit // MEGABYTE} MB that base_scan_limit allows: "
        "taken for a directory of root, 0755"
    )
    return CodeLocation(landing, below, warning)


def check_code_location(source: BaseSource, base: Base, ground: CodeLocation, snapshot: Snapshot, limit: int) -> None:
    """Check that *snapshot* can be laid there.

    At the root of an image, a directory in place of a link (``/bin``, ``/lib``), or a file in place of a directory,
    would leave the image without its programs: so what the base has in the place of the snapshot's topmost entries is
    found out whatever it takes.

    Raises:
        PathConflict: a directory of one is something else in the other.
        InvalidImage: the root of the base cannot be read.
        RegistryError: and its kinds, when the registry cannot be reached or refuses.
        DaemonError: the engine refuses or does not answer.
    """
    target, below = ground.landing.target, ground.below
    if not target:
        tops = [entry.path for entry in snapshot.entries if b"/" not in entry.path]
        below = _root(source, base, tops, limit) if tops else {}
    if below:
        check_collisions(snapshot, target, below)


def _root(source: BaseSource, base: Base, names: list[bytes], limit: int) -> Mapping[bytes, ImageNode]:
    with cached_tree(source, base, None) as tree:
        # An engine does not say how large its layers are, and is asked for a few paths of them only.
        size = sum([layer.size for layer in base.manifest.layers]) if base.registry else 0
        if size > limit and not all(map(tree.knows, names)):
            notice(
                f"reading up to {max(size // MEGABYTE, 1)} MB of {base.name}, once: the code goes to its root, and "
                "must not take the place of links there; -cfg workspace_dir=/app does without"
            )
        found: dict[bytes, ImageNode] = {}
        for name in names:
            node = tree.find(name)
            if node is not None and node.kind == "unknown":
                raise InvalidImage(
                    f"{base.name} has a layer that cannot be read, so its /{os.fsdecode(name)} may be a link",
                    hint="choose another directory for the code: -cfg workspace_dir=/app",
                )
            if node is not None:
                found[name] = node
        return {**tree.below(b""), **found}
