"""Decide which layers a snapshot is made of: chunks that are packed already, chunks to pack, and a hot layer.

An anchor is the list of chunks that a destination is known to hold from an earlier build. Where the anchor's chunks
and the new ones differ only in the content of some regular files, or by new entries, the anchor's layers stay and the
differences go into one small hot layer on top, so that an edit costs what the edit weighs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from topcoat.errors import InvalidImage, WorkspaceError
from topcoat.pack.cut import MAX_LARGE_GROUPS, MAX_SMALL_GROUPS, EntryGroup, cut, make_group
from topcoat.pack.layer import Layer, PackOptions
from topcoat.pack.layer_cache import CachedLayer, LayerCache
from topcoat.pack.tar import BLOCK
from topcoat.scan.snapshot import Entry, Snapshot

# The hot layer may weigh this much, or this part of the heaviest chunk that it saves packing, whichever is more.
MAX_HOT_WEIGHT = 1 << 20
HOT_DIVISOR = 8

# A file system stacked of more layers than this does not mount on every engine.
MAX_LAYERS = 125


class PlannedLayer(NamedTuple):
    """A layer of the image to be.

    Attributes:
        key: identity of chunk and options.
        chunk: what the layer holds. Of a piece kept from an anchor, some members may be out of date: the hot layer
            on top has them anew.
        layer: known when the chunk was packed before.
        kept: the piece is an anchor's, and cannot be packed again from the workspace of today.
        hot: the piece is the hot layer.
    """

    key: str
    group: EntryGroup
    layer: Layer | None
    kept: bool = False
    hot: bool = False


def plan_layers(
    snapshot: Snapshot,
    options: PackOptions,
    memory: LayerCache,
    *,
    room: int = MAX_SMALL_GROUPS + MAX_LARGE_GROUPS,
    anchor: Sequence[str] = (),
) -> list[PlannedLayer]:
    """Return the layers that together are *snapshot*, the hot one last.

    Args:
        snapshot: what the image shall hold.
        options: how it is packed.
        memory: what was packed before.
        room: how many layers the base leaves, the hot one included.
        anchor: keys of the chunks that the destination holds; without any there is no hot layer.

    Raises:
        InvalidImage: the base leaves no room.
        WorkspaceError: a name that means a deletion in a layer.
    """
    _check(snapshot, room)
    identity = options.identity()
    chunks = cut(snapshot.entries, max(room - 1, 1))
    if not chunks and options.parents:
        # With nothing to hold, a layer still makes the target directory.
        chunks = [EntryGroup((), ())]
    pieces = []
    for chunk in chunks:
        key = chunk.key(identity, preserve_mtimes=options.preserve_mtimes)
        pieces.append(PlannedLayer(key, chunk, memory.get_layer(key)))
    # What was packed for another destination still has to travel to this one.
    held = frozenset(anchor)
    fresh = [piece for piece in pieces if piece.key not in held]
    if not fresh or not anchor or room < 2:
        return pieces
    known = {piece.key for piece in pieces}
    stale = {
        key: found
        for key in anchor
        # A chunk that was packed with other options, into another directory say, has another key for the same entries.
        if key not in known
        and (found := memory.get(key))
        and found.group.members
        and found.group.key(identity, preserve_mtimes=options.preserve_mtimes) == key
    }
    directories = {entry.path: entry for entry in snapshot.entries if entry.kind == "dir"}
    kept, delta = _keep(fresh, stale, directories, options)
    if not delta and not kept:
        return pieces
    replaced = {key for group in kept for key in group.fresh}
    result = [piece for piece in pieces if piece.key not in replaced]
    for group in kept:
        result += [PlannedLayer(key, stale[key].group, stale[key].layer, kept=True) for key in group.stale]
    # The anchor's order is kept, so that a daemon finds the layers stacked as it has them.
    order = {key: position for position, key in enumerate(anchor)}
    result.sort(key=lambda piece: order.get(piece.key, len(order)))
    if delta:
        hot = make_group(sorted(delta), directories)
        key = hot.key(identity, preserve_mtimes=options.preserve_mtimes)
        result.append(PlannedLayer(key, hot, memory.get_layer(key), hot=True))
    return result if len(result) <= room else pieces


def _check(snapshot: Snapshot, room: int) -> None:
    if room < 1:
        raise InvalidImage(
            f"the base image has {MAX_LAYERS - room} layers, and engines mount no more than {MAX_LAYERS}",
            hint="build a base with fewer layers: docker build --squash, or a multi-stage build that copies the result",
        )
    for path in [entry.path for entry in snapshot.entries if b".wh." in entry.path]:
        if path.rpartition(b"/")[2].startswith(b".wh."):
            raise WorkspaceError(
                f"{os.fsdecode(path)} cannot be in an image: there, names with .wh. in front delete files",
                hint="rename it, or leave it out with a line in .torchxignore",
            )


class _Group(NamedTuple):
    """Fresh and stale chunks that share paths, and the entries that are new or changed between them."""

    fresh: list[str]
    stale: list[str]
    delta: list[Entry]

    @property
    def weight(self) -> int:
        return sum([entry.size + BLOCK for entry in self.delta])


def _keep(
    fresh: list[PlannedLayer], stale: dict[str, CachedLayer], directories: dict[bytes, Entry], options: PackOptions
) -> tuple[list[_Group], list[Entry]]:
    """Return the groups whose stale layers can stay, and what the hot layer then has to hold."""
    groups = _groups(fresh, stale, directories, options.preserve_mtimes)
    groups.sort(key=lambda group: group.weight)
    sizes = {piece.key: sum([entry.size for entry in piece.group.members]) for piece in fresh}
    kept: list[_Group] = []
    total = heaviest = 0
    for group in groups:
        total += group.weight
        heaviest = max(heaviest, *[sizes[key] for key in group.fresh])
        if total > max(MAX_HOT_WEIGHT, heaviest // HOT_DIVISOR):
            break
        kept.append(group)
    return kept, [entry for group in kept for entry in group.delta]


def _groups(
    fresh: list[PlannedLayer], stale: dict[str, CachedLayer], directories: dict[bytes, Entry], preserve_mtimes: bool
) -> list[_Group]:
    """Group fresh and stale chunks by the paths they share; leave out groups that a hot layer cannot bridge."""
    home = {entry.path: piece.key for piece in fresh for entry in piece.group.members}
    parent = {key: key for key in [*stale, *(piece.key for piece in fresh)]}

    def find(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    broken: set[str] = set()
    old: dict[bytes, Entry] = {}
    for key, remembered in stale.items():
        for entry in remembered.group.members:
            at = home.get(entry.path)
            if at is None:
                broken.add(key)
            else:
                old[entry.path] = entry
                if find(at) != find(key):
                    parent[find(at)] = find(key)
        for ancestor in remembered.group.ancestors:
            now = directories.get(ancestor.path)
            if now is None or now.facts(preserve_mtimes=preserve_mtimes) != ancestor.facts(
                preserve_mtimes=preserve_mtimes
            ):
                broken.add(key)
    ruined = {find(key) for key in broken}
    groups: dict[str, _Group] = {}
    for key in stale:
        if find(key) not in ruined:
            groups.setdefault(find(key), _Group([], [], [])).stale.append(key)
    for piece in fresh:
        root = find(piece.key)
        if root in ruined:
            continue
        group = groups.setdefault(root, _Group([], [], []))
        group.fresh.append(piece.key)
        for entry in piece.group.members:
            before = old.get(entry.path)
            if before is None:
                group.delta.append(entry)
            elif before.facts(preserve_mtimes=preserve_mtimes) != entry.facts(preserve_mtimes=preserve_mtimes):
                if entry.kind != "file" or before.kind != "file":
                    ruined.add(root)
                group.delta.append(entry)
    # New files that fill a chunk of their own spare no layer: they are better off as that chunk.
    return [group for root, group in groups.items() if root not in ruined and group.stale]
