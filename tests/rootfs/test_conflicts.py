"""A snapshot over what an image has: what goes, and what is an error as in a build."""

from __future__ import annotations

import pytest

from topcoat.errors import PathConflict
from topcoat.rootfs.conflicts import check_collisions
from topcoat.rootfs.nodes import UNKNOWN, ImageNode, NodeKind
from topcoat.scan.snapshot import Entry, Kind, Snapshot

_KINDS: list[NodeKind] = ["dir", "file", "link", "other"]


def _snapshot(*entries: tuple[str, Kind]) -> Snapshot:
    return Snapshot([Entry(path.encode(), kind, 0o755, 0, b"", 0) for path, kind in entries])


@pytest.mark.parametrize("there", _KINDS)
@pytest.mark.parametrize("kind", ["dir", "file", "link"])
@pytest.mark.parametrize("much", [False, True])
def test_a_directory_conflicts_with_anything_but_a_directory(kind: Kind, there: NodeKind, much: bool) -> None:
    below = {b"d/x": ImageNode(there), b"d": ImageNode("dir"), b"elsewhere": ImageNode("file")}
    if much:
        below |= {b"%d" % number: ImageNode("file") for number in range(10)}
    snapshot = _snapshot(("d", "dir"), ("d/x", kind), ("d/y", "file"))
    if (kind == "dir") == (there == "dir"):
        check_collisions(snapshot, b"app", below)
        return
    with pytest.raises(PathConflict, match="/app/d/x") as raised:
        check_collisions(snapshot, b"app", below)
    assert raised.value.hint
    assert "d/x" in raised.value.hint


def test_the_error_has_builds_text_and_both_paths() -> None:
    with pytest.raises(PathConflict) as raised:
        check_collisions(_snapshot(("bin", "dir")), b"", {b"bin": ImageNode("link", link=b"usr/bin")})
    assert str(raised.value) == (
        "cannot copy to non-directory: /bin is a link to usr/bin in the base image, "
        "and bin of the workspace is a directory"
    )
    with pytest.raises(PathConflict) as raised:
        check_collisions(_snapshot(("data", "link")), b"app", {b"data": ImageNode("dir")})
    assert str(raised.value) == (
        "cannot replace the directory /app/data of the base image with a link, and data of the workspace is a link"
    )


def test_the_error_names_the_first_of_several_conflicts() -> None:
    below = {b"z": ImageNode("file"), b"a": ImageNode("file")}
    with pytest.raises(PathConflict, match="/a is"):
        check_collisions(_snapshot(("a", "dir"), ("z", "dir")), b"", below)


def test_an_unknown_node_is_not_a_conflict() -> None:
    check_collisions(_snapshot(("a", "dir"), ("b", "file")), b"", {b"a": UNKNOWN, b"b": UNKNOWN})
