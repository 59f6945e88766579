"""Cut a snapshot into chunks at boundaries that depend on the entries' paths and sizes alone.

Large files go their own way, see `_share_out`. The sequence of everything else is cut: a chunk is closed at the entry
whose path hashes lowest among those that leave its weight between a minimum and a maximum, so that after an insertion
or deletion the boundaries fall back to where they were within a few chunks. Sizes weigh in by power of two: an edit
that does not change a size's power of two moves no boundary.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from topcoat.scan.snapshot import Entry, identify

# Files of this size and more are kept apart from the others.
MIN_LARGE_SIZE = 1 << 20
# The lightest a chunk of small files may be, but for the last one.
MIN_WEIGHT = 1 << 20
# Layers given to each where the base leaves room for all of them.
MAX_SMALL_GROUPS = 16
MAX_LARGE_GROUPS = 8

_HEADER = 512


class EntryGroup(NamedTuple):
    """A run of a snapshot's entries that is packed as one layer.

    Attributes:
        members: the entries, in the order of the snapshot.
        ancestors: directories of the snapshot above the members; the layer repeats them, for a layer that leaves a
            directory out resets its attributes.
    """

    members: tuple[Entry, ...]
    ancestors: tuple[Entry, ...]

    def key(self, options: str, *, preserve_mtimes: bool) -> str:
        """Return the identity of the layer that these entries give when packed with *options*, as 64 hex digits."""
        text = hashlib.sha256(b"topcoat-chunk-2\n%d:%b" % (len(options), options.encode()))
        text.update(identify(self.ancestors, preserve_mtimes=preserve_mtimes))
        text.update(identify(self.members, preserve_mtimes=preserve_mtimes))
        return text.hexdigest()


def cut(entries: Sequence[Entry], room: int = MAX_SMALL_GROUPS + MAX_LARGE_GROUPS) -> list[EntryGroup]:
    """Cut the sorted *entries* of a snapshot into at most *room* chunks.

    Every entry is a member of exactly one chunk.
    """
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
    """Return the chunk of *members*; *directories* holds at least the snapshot's directories above them."""
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
    """Return what *entry* counts for in a chunk: a tar header and its size up to the next power of two."""
    return _HEADER + (1 << entry.size.bit_length()) if entry.size else _HEADER


def target_weight(total: int, count: int) -> int:
    """Return the least weight of a chunk, a power of two, such that *total* makes at most *count* of them."""
    target = MIN_WEIGHT
    while total > target * max(count - 1, 1) and count > 1:
        target *= 2
    return target


def _share_out(entries: Sequence[Entry], count: int) -> list[Sequence[Entry]]:
    """Give each large file a chunk of its own while they are that few, else one by the hash of its path.

    A cut by weight follows the total, of which a large file is a good part: with each one that comes or goes, most
    boundaries would move and most of the large files would have to travel again.
    """
    if len(entries) <= count:
        return [[entry] for entry in entries]
    shares: list[Sequence[Entry]] = []
    for number in range(count):
        shares.append([entry for entry in entries if crc32(entry.path) % count == number])
    return shares


def _cut(entries: Sequence[Entry], count: int) -> list[Sequence[Entry]]:
    if count == 1:
        return [entries]
    before = [0, *accumulate(map(weight, entries))]
    least = target_weight(before[-1], count)
    most = least + least // 2
    runs: list[Sequence[Entry]] = []
    start = 0
    while True:
        # Between these, a cut leaves a chunk of neither too little nor too much.
        first = bisect_left(before, before[start] + least, start)
        end = bisect_right(before, before[start] + most, first)
        if end >= len(entries):
            break
        cut_at = min(range(first, end), key=lambda at: crc32(entries[at].path), default=end)
        runs.append(entries[start:cut_at])
        start = cut_at
    # Where the sequence ends inside the window, the rest stays one chunk: cutting it would leave a sliver.
    runs.append(entries[start:])
    return runs
