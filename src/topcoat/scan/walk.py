"""Walk a tree under ignore rules, never below a directory that no rule can bring back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import NamedTuple

from topcoat.scan.ignore import IgnoreRules
from topcoat.scan.tree import SourceNode

_NAME = itemgetter(0)


class Listing(NamedTuple):
    """One directory of a walk.

    Attributes:
        path: relative to the root, ``""`` for the root.
        excluded: the rules leave the directory itself out; it is here because something below may be kept.
        members: the files, links and special files that are kept.
        directories: the sub-directories that are kept or have to be looked into.
    """

    path: str
    excluded: bool
    members: list[SourceNode]
    directories: list[SourceNode]


def walk(list_directory: Callable[[str], list[SourceNode]], rules: IgnoreRules) -> Iterator[Listing]:
    """Yield each directory that is kept or may hold something kept, parents first, names in order.

    This is the walk of BuildKit: an excluded directory is descended into where a ``!`` rule can reach below it.
    """
    decide, touches = rules.decide, rules.touches
    pending = [("", False, rules.ROOT_STATE)]
    while pending:
        path, excluded, state = pending.pop()
        prefix = f"{path}/" if path else ""
        members: list[SourceNode] = []
        directories: list[SourceNode] = []
        below = []
        for node in sorted(list_directory(path), key=_NAME):
            full = prefix + node.name
            # Most paths are of no concern to any rule.
            left_out, inner = decide(full, state) if state or touches(full) else (False, 0)
            if node.kind == "dir":
                if left_out and rules.can_prune(full):
                    continue
                directories.append(node)
                below.append((full, left_out, inner))
            elif not left_out:
                members.append(node)
        yield Listing(path, excluded, members, directories)
        pending.extend(reversed(below))
