"""Layers read from the top down: what they make together is what an engine makes of them from the bottom up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topcoat.rootfs.merged_layers import MergedLayers
from topcoat.rootfs.nodes import UNKNOWN, ImageNode, NodeKind
from topcoat.rootfs.untar import Member

Layer = list[Member]
_IMPLIED = ImageNode("dir")


def entry(path: str, kind: NodeKind = "file", mode: int = 0o644, uid: int = 0, gid: int = 0, link: str = "") -> Member:
    return Member(path.encode(), kind, mode, uid, gid, 0, link.encode())


def directory(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Member:
    return entry(path, "dir", mode, uid, gid)


def read(*layers: Layer) -> MergedLayers:
    """Read *layers*, given bottom first as an image lists them, to the end."""
    overlay = MergedLayers()
    for layer in reversed(layers):
        for member in layer:
            overlay.add(member)
        overlay.end_layer()
    overlay.end()
    return overlay


def test_the_top_layer_counts() -> None:
    overlay = read([directory("app", 0o700, 1, 2), entry("app/f", mode=0o600)], [directory("app", 0o2775, 3, 4)])
    assert overlay.find(b"app") == ImageNode("dir", 0o2775, 3, 4)
    assert overlay.find(b"app/f") == ImageNode("file", 0o600)
    assert overlay.find(b"nothing") is None


def test_an_implied_directory_is_looked_up_in_lower_layers() -> None:
    overlay = read([directory("home/user", 0o700, 1000, 1000)], [entry("home/user/f")])
    assert overlay.find(b"home/user") == ImageNode("dir", 0o700, 1000, 1000)
    assert overlay.find(b"home") == _IMPLIED


@pytest.mark.parametrize("below", [entry("a", "link", link="b"), entry("a"), entry("a", "other")])
def test_an_entry_below_a_lower_layers_file_replaces_the_file(below: Member) -> None:
    overlay = read([directory("a", 0o700), entry("a/lowest")], [below], [entry("a/f")])
    assert overlay.find(b"a") == _IMPLIED
    assert overlay.below(b"a") == {b"f": ImageNode("file", 0o644)}


@pytest.mark.parametrize("above", [entry("a", "link", link="b"), entry("a"), entry("a", "other")])
def test_a_file_hides_the_content_of_a_lower_layers_directory(above: Member) -> None:
    overlay = read([directory("a"), directory("a/b"), entry("a/b/c")], [above])
    node = overlay.find(b"a")
    assert node is not None
    assert node.kind == above.kind
    assert overlay.find(b"a/b") is overlay.find(b"a/b/c") is None
    assert overlay.below(b"a") == {}


def test_a_whiteout_deletes_from_lower_layers_and_not_from_its_own_layer() -> None:
    lower = [directory("a", 0o700), entry("a/f"), entry("a/g"), directory("b"), entry("b/f")]
    overlay = read(lower, [entry(".wh.a"), directory("a", 0o711), entry("a/f", mode=0o600), entry("b/.wh.f")])
    assert overlay.find(b"a") == ImageNode("dir", 0o711)
    assert overlay.find(b"a/f") == ImageNode("file", 0o600)
    assert overlay.find(b"a/g") is overlay.find(b"b/f") is None
    assert overlay.below(b"") == {b"a": ImageNode("dir", 0o711), b"a/f": ImageNode("file", 0o600), b"b": _IMPLIED}


def test_a_whiteout_counts_at_any_position_in_its_layer() -> None:
    overlay = read([directory("a"), entry("a/old")], [directory("a", 0o700), entry("a/new"), entry(".wh.a")])
    assert overlay.find(b"a") == ImageNode("dir", 0o700)
    assert overlay.below(b"a") == {b"new": ImageNode("file", 0o644)}


def test_a_directory_that_is_deleted_and_implied_again_has_default_attributes() -> None:
    overlay = read([directory("a", 0o700, 5), entry("a/old")], [entry(".wh.a"), entry("a/new")])
    assert overlay.find(b"a") == _IMPLIED
    assert overlay.below(b"a") == {b"new": ImageNode("file", 0o644)}


@pytest.mark.parametrize("also", [[], [directory("a", 0o711)]])
def test_an_opaque_directory_hides_its_content_in_lower_layers(also: Layer) -> None:
    lower = [directory("a", 0o700, 5), entry("a/old"), directory("a/d"), entry("a/d/f")]
    overlay = read(lower, [*also, entry("a/.wh..wh..opq"), entry("a/new"), entry("a/d/g")])
    assert overlay.find(b"a") == (ImageNode("dir", 0o711) if also else ImageNode("dir", 0o700, 5))
    assert overlay.below(b"a") == {b"new": ImageNode("file", 0o644), b"d": _IMPLIED, b"d/g": ImageNode("file", 0o644)}


def test_an_opaque_root_hides_everything_below_it() -> None:
    overlay = read([directory("a"), entry("a/f")], [entry(".wh..wh..opq"), directory("b")])
    assert overlay.below(b"") == {b"b": ImageNode("dir", 0o755)}


def test_reserved_names_of_old_engines_are_not_files() -> None:
    overlay = read([directory(".wh..wh.plnk"), entry(".wh..wh.aufs"), entry("a")])
    assert overlay.below(b"") == {b"a": ImageNode("file", 0o644)}


def test_a_layer_without_entries_changes_nothing() -> None:
    assert read([directory("a", 0o700)], [], [entry("", "dir")]).find(b"a") == ImageNode("dir", 0o700)


class TestAsFarAsItIsRead:
    def test_an_entry_is_found_at_once(self) -> None:
        overlay = MergedLayers()
        assert overlay.find(b"app") is UNKNOWN
        overlay.add(directory("app", 0o700))
        assert overlay.find(b"app") == ImageNode("dir", 0o700)
        assert overlay.find(b"app/f") is UNKNOWN

    def test_an_implied_directory_stays_unknown_until_lower_layers_are_read(self) -> None:
        overlay = MergedLayers()
        overlay.add(entry("app/f"))
        assert overlay.find(b"app") is UNKNOWN
        assert overlay.below(b"") == {b"app": _IMPLIED, b"app/f": ImageNode("file", 0o644)}

    def test_a_whiteout_counts_when_its_layer_ends(self) -> None:
        overlay = MergedLayers()
        overlay.add(entry(".wh.app"))
        assert overlay.find(b"app") is UNKNOWN
        overlay.end_layer()
        assert overlay.find(b"app") is overlay.find(b"app/f") is None

    def test_paths_below_an_opaque_directory_or_a_file_are_known(self) -> None:
        overlay = MergedLayers()
        for member in (entry("app/.wh..wh..opq"), entry("file")):
            overlay.add(member)
        overlay.end_layer()
        assert overlay.find(b"app/f") is overlay.find(b"file/f") is None
        assert overlay.find(b"app") is UNKNOWN


_NAMES = st.sampled_from(["a", "b", "a/b", "b/a", "a/b/c", "a/c", "b/a/c"])
_SOME = st.lists(_NAMES, max_size=2, unique=True)
_KINDS = st.sampled_from(["dir", "file", "link"])


@st.composite
def _layers(draw: st.DrawFn) -> list[Layer]:
    layers = []
    for number in range(draw(st.integers(1, 4))):
        kinds: dict[str, NodeKind] = draw(st.dictionaries(_NAMES, _KINDS, max_size=4))
        # No layer has a file and something below it.
        fitting = {
            path: kind
            for path, kind in kinds.items()
            if kind == "dir" or not any(other.startswith(path + "/") for other in kinds)
        }
        layer = [entry(path, kind, 0o600 + number, number) for path, kind in fitting.items()]
        files = [path for path, kind in fitting.items() if kind != "dir"]
        hidden = [f"{path.rpartition('/')[0]}/.wh.{path.rpartition('/')[2]}" for path in draw(_SOME)]
        hidden += [f"{path}/.wh..wh..opq" for path in draw(_SOME)]
        layer += [entry(path.lstrip("/")) for path in hidden if not any(path.startswith(file + "/") for file in files)]
        layers.append(draw(st.permutations(layer)))
    return layers


@settings(deadline=None)
@given(_layers())
def test_merged_layers_equal_layers_applied_from_the_bottom(layers: list[Layer]) -> None:
    applied = _applied(layers)
    overlay = read(*layers)
    assert overlay.below(b"") == applied
    assert {path: overlay.find(path) for path in applied} == applied
    for path in (b"a", b"a/b", b"a/b/c", b"c"):
        assert overlay.find(path) == applied.get(path)


@settings(deadline=None)
@given(_layers(), st.integers(0, 12))
def test_a_node_that_is_known_early_never_changes(layers: list[Layer], stop: int) -> None:
    applied = _applied(layers)
    overlay, taken = MergedLayers(), 0
    for layer in reversed(layers):
        for member in layer:
            if taken < stop:
                overlay.add(member)
            taken += 1
        if taken > stop:
            break
        overlay.end_layer()
    for path in (b"a", b"b", b"a/b", b"b/a", b"a/b/c"):
        node = overlay.find(path)
        assert node is UNKNOWN or node == applied.get(path)


def _applied(layers: list[Layer]) -> dict[bytes, ImageNode]:
    """Apply *layers* one on the other as an engine does: deletions first, then entries, directories kept."""
    collected: dict[bytes, ImageNode] = {}

    def remove(path: bytes, *, itself: bool = True) -> None:
        for known in list(collected):
            if known.startswith(path + b"/") or (itself and known == path):
                del collected[known]

    def make(path: bytes) -> None:
        if path and (path not in collected or collected[path].kind != "dir"):
            make(path.rpartition(b"/")[0])
            collected[path] = _IMPLIED

    for layer in layers:
        hidden = [member for member in layer if member.path.rpartition(b"/")[2].startswith(b".wh.")]
        for member in hidden:
            parent, _, name = member.path.rpartition(b"/")
            if name == b".wh..wh..opq":
                remove(parent, itself=False)
            else:
                remove((parent + b"/" + name[4:]).lstrip(b"/"))
        for member in layer:
            make(member.path.rpartition(b"/")[0])
            if member in hidden:
                continue
            if member.kind != "dir" or collected.get(member.path, _IMPLIED).kind != "dir":
                remove(member.path)
            collected[member.path] = ImageNode(member.kind, member.mode, member.uid, member.gid, member.link)
    return collected


def test_a_path_of_many_components_is_read() -> None:
    merged = MergedLayers()
    path = b"/".join([b"d"] * 3000)
    merged.add(Member(path, "file", 0o644, 0, 0, 0, b""))
    merged.end()
    node = merged.find(path)
    assert node is not None
    assert node.kind == "file"
    assert merged.find(b"d") == ImageNode("dir")
