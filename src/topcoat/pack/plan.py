"""Decide which layers make a snapshot: cached code layers, code layers to pack, and a hot layer.

The anchor is the list of code layers that a destination holds from an earlier build. If these and the new ones
differ only in the content of some regular files, or by added entries, the anchor's layers stay and one small hot layer
on top holds the differences. So an edit uploads about as much as was edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from topcoat.errors import InvalidImage, WorkspaceError
from topcoat.foreign_text import escaped
from topcoat.pack.cut import MAX_LARGE_GROUPS, MAX_SMALL_GROUPS, EntryGroup, cut, make_group
from topcoat.pack.layer import Layer, PackOptions
from topcoat.pack.layer_cache import CachedLayer, LayerCache
from topcoat.pack.tar import BLOCK
from topcoat.scan.names import decode
from topcoat.scan.snapshot import Entry, Snapshot

# The weight of the hot layer: this, or this part of the heaviest layer that need not be packed, whichever is more.
MAX_HOT_WEIGHT = 1 << 20
HOT_DIVISOR = 8

# Linux: PATH_MAX, the final NUL included.
_MAX_PATH = 4096

# Some engines cannot mount a file system of more layers.
MAX_LAYERS = 125


class PlannedLayer(NamedTuple):
    """A layer of the image to build.

    Attributes:
        key: identity of the entries and the pack options.
        group: the entries of the layer. In a kept layer some may be outdated: the hot layer on top holds their new
            versions.
        layer: None if it has yet to be packed.
        kept: the layer is the anchor's, and cannot be packed from the workspace as it is now.
        hot: whether this is the hot layer.
    """

    key: str
    group: EntryGroup
    layer: Layer | None
    kept: bool = False
    hot: bool = False


def plan_layers(
    snapshot: Snapshot,
    options: PackOptions,
    cache: LayerCache,
    *,
    room: int = MAX_SMALL_GROUPS + MAX_LARGE_GROUPS,
    anchor: Sequence[str] = (),
) -> list[PlannedLayer]:
    """Return the layers that together are *snapshot*, the hot one last.

    Args:
        snapshot: the content of the layers.
        options: how they are packed.
        cache: the layers that were packed before.
        room: how many layers the base image leaves, the hot one included.
        anchor: keys of the layers that the destination holds, bottom first; if it is empty, no hot layer is planned.

    Raises:
        InvalidImage: the base image leaves no room.
        WorkspaceError: a file name means a deletion in a layer.
    """
    _check(snapshot, room, options.target)
    identity = options.identity()

    def planned(group: EntryGroup, *, hot: bool = False) -> PlannedLayer:
        key = group.key(identity, preserve_mtimes=options.preserve_mtimes)
        return PlannedLayer(key, group, cache.get_layer(key), hot=hot)

    groups = cut(snapshot.entries, max(room - 1, 1))
    if not groups and options.parents:
        # Without entries, a layer still makes the target directory.
        groups = [EntryGroup((), ())]
    layers = [planned(group) for group in groups]
    # A layer that was packed for another destination still has to be sent to this one.
    anchored = frozenset(anchor)
    new = [layer for layer in layers if layer.key not in anchored]
    if not new or not anchor or room < 2:
        return layers
    current = {layer.key for layer in layers}
    old = {
        key: cached
        for key in anchor
        # A layer that was packed with other options (such as another target directory) has another key.
        if key not in current
        and (cached := cache.get(key))
        and cached.group.members
        and cached.group.key(identity, preserve_mtimes=options.preserve_mtimes) == key
    }
    directories = {entry.path: entry for entry in snapshot.entries if entry.kind == "dir"}
    kept = _choose(_find_overlaps(new, old, directories, options.preserve_mtimes), new)
    if not kept:
        return layers
    replaced = {key for overlap in kept for key in overlap.new}
    result = [layer for layer in layers if layer.key not in replaced]
    for overlap in kept:
        result += [PlannedLayer(key, old[key].group, old[key].layer, kept=True) for key in overlap.old]
    # In the anchor's order, so that an engine finds the layers stacked as it has them.
    order = {key: position for position, key in enumerate(anchor)}
    result.sort(key=lambda layer: order.get(layer.key, len(order)))
    delta = sorted(entry for overlap in kept for entry in overlap.delta)
    if delta:
        result.append(planned(make_group(delta, directories), hot=True))
    return result if len(result) <= room else layers


def _check(snapshot: Snapshot, room: int, target: bytes) -> None:
    if room < 1:
        raise InvalidImage(
            f"the base image has {MAX_LAYERS - room} layers, and engines mount at most {MAX_LAYERS}",
            hint="build a base with fewer layers: docker build --squash, or a multi-stage build that copies the result",
        )
    max_path = _MAX_PATH - len(target) - 2
    if too_long := [entry.path for entry in snapshot.entries if len(entry.path) > max_path]:
        raise WorkspaceError(
            f"{escaped(decode(too_long[0]), 200)} cannot be in an image: its path has over {_MAX_PATH} bytes there",
            hint="move it up, or leave it out with a line in .torchxignore",
        )
    for path in [entry.path for entry in snapshot.entries if b".wh." in entry.path]:
        if path.rpartition(b"/")[2].startswith(b".wh."):
            raise WorkspaceError(
                f"{decode(path)} cannot be in an image: names that start with .wh. delete files there",
                hint="rename it, or leave it out with a line in .torchxignore",
            )


class _Overlap(NamedTuple):
    """New and old layers that share paths, by key, and the entries that were added or changed between them."""

    new: list[str]
    old: list[str]
    delta: list[Entry]

    @property
    def weight(self) -> int:
        return sum([entry.size + BLOCK for entry in self.delta])


def _choose(overlaps: list[_Overlap], new: list[PlannedLayer]) -> list[_Overlap]:
    """Return the overlaps whose old layers stay: the lightest ones, as long as the hot layer stays small."""
    sizes = {layer.key: sum([entry.size for entry in layer.group.members]) for layer in new}
    kept: list[_Overlap] = []
    total = heaviest = 0
    for overlap in sorted(overlaps, key=lambda overlap: overlap.weight):
        total += overlap.weight
        heaviest = max(heaviest, *[sizes[key] for key in overlap.new])
        if total > max(MAX_HOT_WEIGHT, heaviest // HOT_DIVISOR):
            break
        kept.append(overlap)
    return kept


def _find_overlaps(
    new: list[PlannedLayer], old: dict[str, CachedLayer], directories: dict[bytes, Entry], preserve_mtimes: bool
) -> list[_Overlap]:
    """Join new and old layers that share paths; leave out those whose differences a hot layer cannot express."""
    new_key = {entry.path: layer.key for layer in new for entry in layer.group.members}
    # Union-find: layers with the same root share paths, directly or through others.
    parent = {key: key for key in [*old, *(layer.key for layer in new)]}

    def root_of(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    def is_same(entry: Entry, other: Entry) -> bool:
        return entry.facts(preserve_mtimes=preserve_mtimes) == other.facts(preserve_mtimes=preserve_mtimes)

    unusable: set[str] = set()
    old_entries: dict[bytes, Entry] = {}
    for key, cached in old.items():
        for entry in cached.group.members:
            joined = new_key.get(entry.path)
            if joined is None:
                unusable.add(key)
            else:
                old_entries[entry.path] = entry
                if root_of(joined) != root_of(key):
                    parent[root_of(joined)] = root_of(key)
        for ancestor in cached.group.ancestors:
            now = directories.get(ancestor.path)
            if now is None or not is_same(now, ancestor):
                unusable.add(key)
    unusable_roots = {root_of(key) for key in unusable}
    overlaps: dict[str, _Overlap] = {}
    for key in old:
        if root_of(key) not in unusable_roots:
            overlaps.setdefault(root_of(key), _Overlap([], [], [])).old.append(key)
    for layer in new:
        root = root_of(layer.key)
        # Added files that fill a whole layer share no path with old layers: they stay that layer.
        if root not in overlaps:
            continue
        overlaps[root].new.append(layer.key)
        for entry in layer.group.members:
            before = old_entries.get(entry.path)
            if before is not None and is_same(before, entry):
                continue
            if before is not None and (entry.kind != "file" or before.kind != "file"):
                unusable_roots.add(root)
            overlaps[root].delta.append(entry)
    return [overlap for root, overlap in overlaps.items() if root not in unusable_roots]
