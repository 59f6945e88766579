"""Cut a snapshot into groups of entries, one for each code layer.

Where a group ends depends on the paths and sizes of the entries alone. Small files are one sorted sequence: a group
ends before the entry whose path hashes lowest among those that give the group a weight between a minimum and a maximum,
so after an insertion or a deletion the ends fall back to where they were within a few groups. Sizes count by power of
two: an edit that does not change a size's power of two moves no end. For large files see `_share_out`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from topcoat.scan.snapshot import Entry, identify

# Files of this many bytes and more are not in groups with smaller ones.
MIN_LARGE_SIZE = 1 << 20
# Of a group of small files, except the last one.
MIN_WEIGHT = 1 << 20
# If the base image leaves room for all of them.
MAX_SMALL_GROUPS = 16
MAX_LARGE_GROUPS = 8

_HEADER = 512


class EntryGroup(NamedTuple):
    """The entries of one code layer.

    Attributes:
        members: in the order of the snapshot; every entry of a snapshot is a member of one group.
        ancestors: the directories of the snapshot above the members. The layer repeats them, because a layer that omits
            a directory resets its attributes.
    """

    members: tuple[Entry, ...]
    ancestors: tuple[Entry, ...]

    def key(self, options: str, *, preserve_mtimes: bool) -> str:
        """Return the identity of the layer that these entries make when packed with *options*, as 64 hex digits."""
        text = hashlib.sha256(b"topcoat code layer 1\n%d:%b" % (len(options), options.encode()))
        text.update(identify(self.ancestors, preserve_mtimes=preserve_mtimes))
        text.update(identify(self.members, preserve_mtimes=preserve_mtimes))
        return text.hexdigest()


def cut(entries: Sequence[Entry], room: int = MAX_SMALL_GROUPS + MAX_LARGE_GROUPS) -> list[EntryGroup]:
    """Cut the sorted *entries* of a snapshot into at most *room* groups."""
    small = [entry for entry in entries if entry.size < MIN_LARGE_SIZE]
    large = [entry for entry in entries if entry.size >= MIN_LARGE_SIZE]
    if room < 2:
        runs: list[Sequence[Entry]] = [entries]
    else:
        for_large = min(MAX_LARGE_GROUPS, max(1, room // 3))
        for_small = min(MAX_SMALL_GROUPS, room - for_large)
        runs = _cut(small, for_small) + _share_out(large, for_large)
    directories = {entry.path: entry for entry in small if entry.kind == "dir"}
    return [make_group(run, directories) for run in runs if run]


def make_group(members: Sequence[Entry], directories: dict[bytes, Entry]) -> EntryGroup:
    """Return the group of *members*; *directories* holds at least the snapshot's directories above them."""
    own = {entry.path for entry in members if entry.kind == "dir"}
    above: dict[bytes, Entry] = {}
    last = b""
    for entry in members:
        parent = entry.path.rpartition(b"/")[0]
        # Neighbours mostly share a directory.
        if parent == last:
            continue
        last = parent
        while parent and parent not in above:
            above[parent] = directories[parent]
            parent = parent.rpartition(b"/")[0]
    return EntryGroup(tuple(members), tuple([above[path] for path in sorted(above) if path not in own]))


def weight(entry: Entry) -> int:
    """Return the weight of *entry* in a group: a tar header, and its size up to the next power of two."""
    return _HEADER + (1 << entry.size.bit_length()) if entry.size else _HEADER


def target_weight(total: int, count: int) -> int:
    """Return the minimum weight of a group, a power of two, such that *total* makes at most *count* groups."""
    target = MIN_WEIGHT
    while total > target * max(count - 1, 1) and count > 1:
        target *= 2
    return target


def _share_out(entries: Sequence[Entry], count: int) -> list[Sequence[Entry]]:
    """Give each large file a group of its own if at most *count* exist, else one of *count* by the hash of its path.

    A cut by weight depends on the total, and each large file is a good part of that: whenever one is added or deleted,
    most ends would move and most large files would have to be uploaded again.
    """
    if len(entries) <= count:
        return [[entry] for entry in entries]
    return [[entry for entry in entries if crc32(entry.path) % count == number] for number in range(count)]


def _cut(entries: Sequence[Entry], count: int) -> list[Sequence[Entry]]:
    if count == 1:
        return [entries]
    before = [0, *accumulate(map(weight, entries))]
    minimum = target_weight(before[-1], count)
    maximum = minimum + minimum // 2
    runs: list[Sequence[Entry]] = []
    start = 0
    while True:
        # A cut between these two gives a group of a valid weight.
        first = bisect_left(before, before[start] + minimum, start)
        end = bisect_right(before, before[start] + maximum, first)
        if end >= len(entries):
            break
        cut_at = min(range(first, end), key=lambda at: crc32(entries[at].path), default=end)
        runs.append(entries[start:cut_at])
        start = cut_at
    # If the sequence ends between the two, the rest stays one group: a cut would leave a very small group.
    runs.append(entries[start:])
    return runs
