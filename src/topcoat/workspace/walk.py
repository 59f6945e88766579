"""Walk a workspace on any fsspec file system, without what its ignore file leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from topcoat.scan.content import read_file, refuse_link_out
from topcoat.scan.ignore import IgnoreRules
from topcoat.scan.tree import FsspecTree
from topcoat.scan.walk import walk

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TORCHX_IGNORE = ".torchxignore"


def walk_workspace(
    fs: AbstractFileSystem, path: str, ignore_name: str = TORCHX_IGNORE
) -> Iterable[tuple[str, Iterable[str], Mapping[str, Mapping[str, object]]]]:
    """Yield each directory below *path* with its sub-directories and files, lazily, parents first.

    The rules are those of the file *ignore_name* directly below *path*, with the syntax of ``.dockerignore``; without
    that file nothing is left out. Directories have their full path on *fs*; each file has the file system's
    information about it (``fs.info``). A directory that is left out is yielded if something below it is kept.

    Raises:
        WorkspaceNotFound: there is no such directory.
        InvalidIgnorePattern: with file and line.
    """
    tree = FsspecTree(fs, str(fs._strip_protocol(path)))
    names = {node.name for node in tree.list("")}
    sources = []
    if ignore_name in names:
        refuse_link_out(tree, ignore_name)
        sources = [(f"{path.rstrip('/')}/{ignore_name}", read_file(tree, ignore_name))]
    for listing in walk(tree.list, IgnoreRules.parse(sources)):
        if listing.excluded and not listing.members:
            continue
        directories = [node.name for node in listing.directories]
        yield tree.full(listing.path), directories, {node.name: node.info or {} for node in listing.members}
