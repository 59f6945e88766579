"""Conflicts between a snapshot and the files of an image: the ones that ``COPY`` refuses.

BuildKit merges directories, and lets a file or a link replace anything but a directory. A directory replaces nothing:
no file, and no link either, not even a link to a directory.
"""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.errors import PathConflict
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.names import decode
from topcoat.scan.snapshot import Entry, Snapshot

_NOUNS = {"dir": "a directory", "link": "a link", "file": "a file", "other": "a special file"}


def check_collisions(snapshot: Snapshot, target: bytes, below: Mapping[bytes, ImageNode]) -> None:
    """Check *snapshot* against the nodes that are known *below* the directory *target* of an image.

    Raises:
        PathConflict: a path is a directory in one and something else in the other.
    """
    entries = snapshot.entries
    if len(below) < len(entries):
        pairs = [(entry, node) for path, node in below.items() if (entry := snapshot.find(path)) is not None]
    else:
        pairs = [(entry, node) for entry in entries if (node := below.get(entry.path)) is not None]
    for entry, node in sorted(pairs):
        if node.kind != "unknown" and (entry.kind == "dir") != (node.kind == "dir"):
            raise _conflict(entry, node, target)


def _conflict(entry: Entry, node: ImageNode, target: bytes) -> PathConflict:
    path = decode(entry.path)
    image_path = decode(b"/" + target + b"/" + entry.path) if target else f"/{path}"
    if entry.kind == "dir":
        leads = f" to {decode(node.link)}" if node.kind == "link" else ""
        what = f"cannot copy to non-directory: {image_path} is {_NOUNS[node.kind]}{leads} in the base image"
    else:
        what = f"cannot replace the directory {image_path} of the base image with {_NOUNS[entry.kind]}"
    return PathConflict(
        f"{what}, and {path} of the workspace is {_NOUNS[entry.kind]}",
        hint=f"rename {path}, leave it out with a line in .torchxignore, or choose another directory for the code: "
        "-cfg workspace_dir=/app",
    )
