"""Walk a tree under ignore rules; skip excluded directories that no rule can bring back."""

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
        excluded: the rules exclude the directory itself, but may keep something below it.
        members: the files, links and special files that are kept.
        directories: the sub-directories that are kept or may hold something kept.
    """

    path: str
    excluded: bool
    members: list[SourceNode]
    directories: list[SourceNode]


def walk(list_directory: Callable[[str], list[SourceNode]], rules: IgnoreRules) -> Iterator[Listing]:
    """Yield each directory that is kept or may hold something kept, parents first, sorted by name.

    This is BuildKit's walk: it descends into an excluded directory if a ``!`` rule can reach below it. A directory of a
    remote file system that is listed below itself is left out there.
    """
    seen: set[object] = set()
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
            # No rule applies to most paths.
            is_excluded, inner = decide(full, state) if state or touches(full) else (False, 0)
            if node.kind == "dir":
                if is_excluded and rules.can_prune(full):
                    continue
                if node.info is not None:
                    if node.info.get("name") in seen:
                        continue
                    seen.add(node.info.get("name"))
                directories.append(node)
                below.append((full, is_excluded, inner))
            elif not is_excluded:
                members.append(node)
        yield Listing(path, excluded, members, directories)
        pending.extend(reversed(below))
