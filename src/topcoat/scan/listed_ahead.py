"""List directories with several processors: helper processes list those that the walk comes to last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from topcoat.errors import TopcoatError
from topcoat.helpers.plain_files import Batch, unpack_members
from topcoat.helpers.pool import Background, HelperPool
from topcoat.scan import names
from topcoat.scan.index import StatIndex
from topcoat.scan.tree import LocalTree, SourceNode, local_nodes

MIN_FILES = 5000
"""Fewer files are listed before a helper has started."""

_CHUNK_DIRECTORIES = 16


@contextmanager
def listed_ahead(tree: LocalTree, index: StatIndex) -> Iterator[Callable[[str], list[SourceNode]]]:
    """Give a ``with`` block a function that lists a directory of *tree*, like ``tree.list``.

    Helpers list the directories of the last scan, the last one first, until they meet the walk. A directory that they
    cannot list, or have not listed yet, is listed when the walk comes to it.
    """
    if len(index) < MIN_FILES or not names.IS_UTF8:
        yield tree.list
        return
    directories = [(names.encode(path), 0) for path in reversed(index.directories)]
    batch: Batch = ("list", names.encode(tree.root), b"", (), directories)
    listed: dict[bytes, bytes] = {}
    with HelperPool(len(index)) as pool:
        background: Background | None = Background(pool, [batch], _CHUNK_DIRECTORIES)

        def list_directory(path: str) -> list[SourceNode]:
            nonlocal background
            try:
                for (*_, files), results in background.collect() if background else ():
                    listed.update({file[0]: packed for file, packed in zip(files, results, strict=True) if packed})
            except TopcoatError:
                # A helper was killed.
                background = None
            packed = listed.pop(names.encode(path), None)
            return tree.list(path) if packed is None else local_nodes(unpack_members(packed))

        yield list_directory
