"""What of a snapshot cannot be laid over what an image has in its place: what ``COPY`` refuses, too.

BuildKit merges directories, and lets a file or a link take the place of anything but a directory. A directory takes the
place of nothing: not of a file, and not of a link either, even one to a directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from topcoat.errors import PathConflict
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.snapshot import Entry, Snapshot

_NOUNS = {"dir": "a directory", "link": "a link", "file": "a file", "other": "a special file"}


def check_collisions(snapshot: Snapshot, target: bytes, below: Mapping[bytes, ImageNode]) -> None:
    """Check *snapshot* against what is known to be *below* the directory *target* of an image.

    Raises:
        PathConflict: a directory of one is something else in the other.
    """
    entries = snapshot.entries
    if len(below) < len(entries):
        pairs = [(found, node) for path, node in below.items() if (found := snapshot.find(path)) is not None]
    else:
        pairs = [(entry, node) for entry in entries if (node := below.get(entry.path)) is not None]
    for entry, node in sorted(pairs):
        if node.kind != "unknown" and (entry.kind == "dir") != (node.kind == "dir"):
            raise _conflict(entry, node, target)


def _conflict(entry: Entry, node: ImageNode, target: bytes) -> PathConflict:
    path = os.fsdecode(entry.path)
    place = os.fsdecode(b"/" + target + b"/" + entry.path) if target else f"/{path}"
    if entry.kind == "dir":
        leads = f" to {os.fsdecode(node.link)}" if node.kind == "link" else ""
        what = f"cannot copy to non-directory: {place} is {_NOUNS[node.kind]}{leads} in the base image"
    else:
        what = f"cannot replace the directory {place} of the base image with {_NOUNS[entry.kind]}"
    return PathConflict(
        f"{what}, and {path} of the workspace is {_NOUNS[entry.kind]}",
        hint=f"rename {path}, leave it out with a line in .torchxignore, or choose another directory for the code: "
        "-cfg workspace_dir=/app",
    )
