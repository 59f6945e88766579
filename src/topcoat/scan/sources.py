"""Find the directories and files that a workspace declares."""

from __future__ import annotations

import os
from typing import NamedTuple

from topcoat.errors import InvalidWorkspace, MissingDependency, WorkspaceError, WorkspaceNotFound
from topcoat.scan.names import encode, encode_declared, from_system
from topcoat.scan.tree import FsspecTree, LocalTree, SourceNode, Tree
from topcoat.specs.projects import Projects


class ScanRoot(NamedTuple):
    """One source of a workspace and its target.

    Attributes:
        label: absolute path or URL of the source, for messages and caches.
        tree: the directory to walk, or the one that holds *file*.
        target: path below the remote root; empty for the root itself.
        file: set if the source is a single file; *target* is then the path of the file.
    """

    label: str
    tree: Tree
    target: bytes
    file: SourceNode | None


def find_scan_roots(workspace: Projects) -> list[ScanRoot]:
    """Return the sources of *workspace*, in order.

    Raises:
        WorkspaceNotFound: a source does not exist.
        InvalidWorkspace: a source is a home directory or the root of a file system.
    """
    return [_find(source, target) for source, target in workspace.resolved()]


def _find(source: str, target: str) -> ScanRoot:
    target_path = encode_declared(target)
    local = local_path(source)
    if local is None:
        return _find_remote(source, target_path)
    path = os.path.normpath(os.path.join(current_directory(), local))
    if not os.path.lexists(path):
        raise WorkspaceNotFound(
            f"workspace {path} does not exist",
            hint="check the path given with --workspace or in the role's workspace",
        )
    if os.path.isdir(path):
        real = os.path.realpath(path)
        if real in (os.path.dirname(real), os.path.realpath(os.path.expanduser("~"))):
            raise InvalidWorkspace(
                f"{path} is a home directory or the root of a file system, not a workspace",
                hint='run from the project\'s directory, name it with --workspace DIR, or use --workspace ""',
            )
        return ScanRoot(path, LocalTree(path), target_path, None)
    parent, name = os.path.split(path)
    return _single_file(path, LocalTree(parent), target_path, from_system(name))


def local_path(source: str) -> str | None:
    """Return the path that *source* names, a path or a ``file://`` URL; None for any other URL."""
    if "://" not in source:
        return source
    scheme, _, path = source.partition("://")
    if scheme not in ("file", "local"):
        return None
    if "%" in path:
        from urllib.parse import unquote_to_bytes

        decoded = os.fsdecode(unquote_to_bytes(os.fsencode(path)))
        if os.path.lexists(decoded):
            return decoded
    # As fsspec has it: not encoded.
    return path


def current_directory() -> str:
    """Return the current directory.

    Raises:
        WorkspaceNotFound: the directory was removed.
    """
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise WorkspaceNotFound("the current directory no longer exists", hint="cd to one that does") from None


def _find_remote(source: str, target_path: bytes) -> ScanRoot:
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(source)
        # A cached listing of an earlier scan in this process would hide an edit.
        fs.invalidate_cache()
        exists, is_directory = fs.exists(path), fs.isdir(path)
        if not path and is_directory and {str(info["name"]).strip("/") for info in fs.ls("", detail=True)} == {"."}:
            # The archive was made by `tar -c .`.
            path = "."
    except ImportError as error:
        raise MissingDependency(f"cannot read workspace {source}: {error}") from error
    except ValueError as error:
        raise InvalidWorkspace(f"cannot read workspace {source}: {error}") from error
    except Exception as error:  # each file system has its own exceptions
        raise WorkspaceError(f"cannot read workspace {source}: {error}") from error
    if not exists:
        raise WorkspaceNotFound(
            f"workspace {source} does not exist",
            hint="check the URL given with --workspace or in the role's workspace",
        )
    if is_directory:
        return ScanRoot(source, FsspecTree(fs, path), target_path, None)
    parent, _, name = path.rpartition("/")
    return _single_file(source, FsspecTree(fs, parent), target_path, name)


def _single_file(label: str, tree: Tree, target_path: bytes, name: str) -> ScanRoot:
    node = tree.stat(name)
    if node.kind != "file":
        raise InvalidWorkspace(
            f"workspace {label} is neither a directory nor a file",
            hint="name the directory that holds the code with --workspace DIR",
        )
    return ScanRoot(label, tree, target_path or encode(name), node)
