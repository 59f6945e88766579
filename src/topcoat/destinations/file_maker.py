"""Make the files of a new job directory: from an earlier snapshot if it has them, else from the workspace."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from typing import Literal

from topcoat.destinations.copy import copy_file, unchanged_since
from topcoat.destinations.last_snapshot import LastSnapshot, SnapshotFiles, directory_of
from topcoat.helpers.plain_files import MAX_SIZE, Batch, File, do
from topcoat.helpers.pool import HelperPool
from topcoat.scan.names import encode, to_system
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry
from topcoat.scan.tree import LocalTree
from topcoat.transfers import advance

LinkPolicy = Literal["copy", "hard"]


class FileMaker:
    """Makes the files of a scan in a new directory."""

    def __init__(
        self,
        root: str,
        scan: Scan,
        files: SnapshotFiles,
        earlier: LastSnapshot | None,
        link: LinkPolicy,
        *,
        can_clone: bool,
    ) -> None:
        """Make *files* of *scan* in *root*; with *can_clone* its file system has reflinks."""
        self.scan = scan
        self._files = files
        self._root, self._system_root = root, os.fsencode(f"{root}/")
        self._earlier = earlier
        self._how = "link" if link == "hard" else "clone"
        self._earlier_root = os.fsencode(f"{earlier.directory}/") if earlier else b""
        self._clones_workspace = can_clone and _is_on_device(scan, os.stat(root).st_dev)

    def make_plain(self, helpers: HelperPool, frame: Iterator[bytes]) -> list[Entry]:
        """Make the files for which a plain copy, clone or link is enough, and return the others.

        *frame* makes the directories and links, parents first, and yields their paths.
        """
        others: set[bytes] = set()
        made = helpers.do_all(self._batches(frame, others), functools.partial(advance, "copying"))
        start = len(self._system_root)
        for (_, _, target, _, batch), results in made:
            if None in results:
                directory = target[start:]
                names = [file[0] for file, result in zip(batch, results, strict=True) if result is None]
                others.update([b"%b/%b" % (directory, name) if directory else name for name in names])
        if not others:
            return []
        return [entry for entries in self._files.directories.values() for entry in entries if entry.path in others]

    def make(self, entry: Entry, path: str) -> None:
        """Make *entry*, whatever it takes."""
        if self._share(entry, path):
            advance("copying", entry.size)
        else:
            copy_file(self.scan, entry, path)

    def _batches(self, frame: Iterator[bytes], others: set[bytes]) -> Iterator[Batch]:
        """Divide the files into batches; put those into *others* that are not plain."""
        made = {b""}
        earlier = None if self._how == "clone" and self._clones_workspace else self._earlier
        for directory, entries in self._files.directories.items():
            # Helpers make files while the other directories are made.
            while directory not in made:
                made.add(next(frame))
            if earlier is None:
                yield from self._workspace_batches(directory, entries, others)
            elif earlier.files is None:
                others.update([entry.path for entry in entries])
            else:
                same = earlier.same_files(directory, self._files)
                if same:
                    yield self._earlier_batch(directory, same)
                if len(same) < len(entries):
                    changed = set(entries).difference(same)
                    yield from self._workspace_batches(directory, sorted(changed), others)

    def _earlier_batch(self, directory: bytes, entries: Iterable[Entry]) -> Batch:
        start = len(directory) + 1 if directory else 0
        files = [(path[start:], size, mode, mtime) for path, _, mode, size, _, mtime, _ in entries]
        return self._how, self._earlier_root + directory, self._system_root + directory, (), files

    def _workspace_batches(self, directory: bytes, entries: list[Entry], others: set[bytes]) -> Iterator[Batch]:
        start = len(directory) + 1 if directory else 0
        batches: dict[tuple[LocalTree, str], list[File]] = {}
        for entry in entries:
            tree, path = self.scan.source_of(entry)
            source, _, base = path.rpartition("/")
            name = entry.path[start:]
            if (
                isinstance(tree, LocalTree)
                and entry.size <= MAX_SIZE
                and encode(base) == name
                and entry.mtime < unchanged_since(tree.root)
            ):
                batches.setdefault((tree, source), []).append((name, entry.size, entry.mode, entry.mtime))
            else:
                others.add(entry.path)
        for (tree, source), files in batches.items():
            shared = unchanged_since(tree.root), self._clones_workspace
            yield "copy", encode(tree.full(source)), self._system_root + directory, shared, files

    def _share(self, entry: Entry, path: str) -> bool:
        earlier = self._earlier
        try:
            has = earlier is not None and earlier.has(entry, earlier.directory + path[len(self._root) :])
        except OSError:  # it cannot be read
            return False
        # Not with too many links, of another owner, or on another file system.
        return has and do(self._earlier_batch(directory_of(entry), [entry])) != [None]


def _is_on_device(scan: Scan, device: int) -> bool:
    """Tell whether the workspace is on *device*; of one with several projects, its first file."""
    file = next((entry for entry in scan.snapshot if entry.kind == "file"), None)
    tree = scan.source_of(file)[0] if file else None
    return isinstance(tree, LocalTree) and os.stat(to_system(tree.root)).st_dev == device
