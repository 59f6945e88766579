"""Trees to scan: a local directory, or a directory of any fsspec file system."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Protocol, cast

from topcoat.errors import TopcoatError, WorkspaceChanged, WorkspaceError, WorkspaceNotFound
from topcoat.foreign_text import escaped
from topcoat.helpers.plain_files import KINDS, READ_ONLY, Member, list_members
from topcoat.scan import names
from topcoat.scan.ignore import ignore_hint

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

NodeKind = Literal["file", "dir", "link", "other"]

_BLOCK = 1 << 20


class Version(NamedTuple):
    """What changes when a program writes to a file: it can set the mtime back, but not the ctime."""

    size: int
    mtime: int
    ctime: int


class SourceNode(NamedTuple):
    """One member of a directory as the tree lists it; times in nanoseconds, *inode* 0 if unknown."""

    name: str
    kind: NodeKind
    mode: int
    size: int
    mtime: int
    ctime: int
    inode: int
    info: Mapping[str, object] | None = None

    @property
    def stat(self) -> tuple[int, int, int, int, int]:
        """Mode, size, times and inode: if one differs, the file may have changed."""
        return self[2:7]

    @property
    def version(self) -> Version:
        """The version of a local file."""
        return Version(self.size, self.mtime, self.ctime)


# Without a function of our own: a warm scan comes here for each file.
_new_node: Callable[[Member], SourceNode] = partial(tuple.__new__, SourceNode)


class Tree(Protocol):
    """A directory that can be listed and read. Paths are relative to its root; ``""`` is the root itself."""

    is_local: bool
    """Whether `full` returns a path of this machine."""

    def full(self, path: str) -> str:
        """Return the whole path of a member."""

    def list(self, path: str) -> list[SourceNode]:
        """List the members of a directory."""

    def stat(self, path: str) -> SourceNode:
        """Return the node at *path*, symbolic links followed."""

    def read(self, path: str, size: int) -> bytes:
        """Read the first *size* bytes of a (small) file, unchecked: see `content`."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading, unbuffered."""

    def readlink(self, path: str, node: SourceNode) -> str:
        """Return the target of the symbolic link that was listed as *node*."""


class LocalTree:
    """A directory of this machine, mounted file systems included."""

    is_local = True

    def __init__(self, root: str) -> None:
        self.root = names.from_system(os.path.abspath(root))

    def full(self, path: str) -> str:
        """Return the absolute path of a member."""
        return f"{self.root}/{path}" if path else self.root

    def list(self, path: str) -> list[SourceNode]:
        full = self.full(path)
        with reading(full, path):
            return local_nodes(_list_members(full))

    def stat(self, path: str) -> SourceNode:
        full = self.full(path)
        with reading(full, path):
            return _local_node(os.path.basename(full), os.stat(names.to_system(full)))

    def read(self, path: str, size: int) -> bytes:
        full = self.full(path)
        with reading(full, path):
            handle = _open_regular(full, path)
            try:
                return _read_first(handle, size)
            finally:
                os.close(handle)

    def open(self, path: str) -> BinaryIO:
        full = self.full(path)
        with reading(full, path):
            return cast(BinaryIO, io.FileIO(_open_regular(full, path)))

    def readlink(self, path: str, node: SourceNode) -> str:
        full = self.full(path)
        with reading(full, path):
            return os.readlink(full) if names.IS_UTF8 else names.decode(os.readlink(names.encode(full)))


def local_nodes(members: Iterable[Member]) -> list[SourceNode]:
    """Return the nodes of the *members* of a local directory."""
    nodes = list(map(_new_node, members))
    return nodes if names.IS_UTF8 else [node._replace(name=names.from_system(node.name)) for node in nodes]


def _list_members(directory: str) -> list[Member]:
    if os.scandir not in os.supports_fd:
        return list_members(directory)
    # With a handle, a stat of a member does not resolve the path of the directory again.
    handle = os.open(names.to_system(directory), READ_ONLY)
    try:
        return list_members(handle)
    finally:
        os.close(handle)


class FsspecTree:
    """A directory of an fsspec file system such as ``memory://`` or ``s3://``."""

    def __init__(self, fs: AbstractFileSystem, root: str) -> None:
        self.fs = fs
        self.root = root.rstrip("/")
        self.is_local = "file" in getattr(fs, "protocol", ())

    def full(self, path: str) -> str:
        """Return a member's path in the file system."""
        return f"{self.root}/{path}" if path and self.root else self.root or f"{self.fs.root_marker}{path}"

    def list(self, path: str) -> list[SourceNode]:
        full = self.full(path)
        with _reading_remote(full):
            infos: list[dict[str, Any]] = self.fs.ls(full, detail=True)
        # Object stores list the marker object of a directory as one of its members, some archives the directory itself.
        own = full.strip("/")
        nodes: dict[str, SourceNode] = {}
        for node in [_fsspec_node(info) for info in infos if str(info["name"]).strip("/") != own]:
            if node.name in ("", ".", ".."):
                continue
            if nodes.setdefault(node.name, node).kind != node.kind:
                raise WorkspaceError(
                    f"{full}/{node.name} is both a file and a directory",
                    hint="only object stores can have both; rename one of them",
                )
        return list(nodes.values())

    def stat(self, path: str) -> SourceNode:
        full = self.full(path)
        with _reading_remote(full):
            return _fsspec_node({**self.fs.info(full), "islink": False})

    def read(self, path: str, size: int) -> bytes:
        with _reading_remote(self.full(path)):
            return cast(bytes, self.fs.cat_file(self.full(path)))[:size]

    def open(self, path: str) -> BinaryIO:
        with _reading_remote(self.full(path)):
            return cast(BinaryIO, self.fs.open(self.full(path), "rb"))

    def readlink(self, path: str, node: SourceNode) -> str:
        # A new request would not do: some file systems fail on a dangling link.
        link = cast("str | bytes", (node.info or {})["destination"])
        return link if isinstance(link, str) else names.decode(link)


@contextmanager
def reading(path: str, member: str = "") -> Iterator[None]:
    """Turn an ``OSError`` about *path* into a `WorkspaceError`; *member* is its path in the tree, to leave it out."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WorkspaceNotFound(f"{path} does not exist") from error
    except PermissionError as error:
        # Made only now: every file of a workspace passes here.
        hint = "make it readable" + (f", or leave it out: {ignore_hint(member)}" if member else "")
        raise WorkspaceError(f"cannot read {path}: permission denied", hint=hint) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            # The path is of no use in a message.
            hint = f"move it up, or leave it out: {ignore_hint(member.partition('/')[0])}"
            raise WorkspaceError(f"cannot read {escaped(path, 200)}: the path is too long", hint=hint) from error
        raise WorkspaceError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def _reading_remote(path: str) -> Iterator[None]:
    with reading(path):
        try:
            yield
        except (OSError, TopcoatError):
            raise
        except Exception as error:  # each file system raises its own exceptions
            raise WorkspaceError(f"cannot read {path}: {error}") from error


def version_of(handle: int) -> Version:
    """Return the version of the open file *handle*."""
    st = os.fstat(handle)
    return Version(st.st_size, st.st_mtime_ns, st.st_ctime_ns)


def _local_node(name: str, st: os.stat_result) -> SourceNode:
    mode = st.st_mode
    kind = cast(NodeKind, KINDS.get(stat.S_IFMT(mode), "other"))
    return SourceNode(name, kind, mode & 0o7777, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino)


def _fsspec_node(info: Mapping[str, Any]) -> SourceNode:
    kind: NodeKind
    if info.get("islink") and "destination" in info:
        kind = "link"
    else:
        kind = {"file": "file", "directory": "dir"}.get(info["type"], "other")  # type: ignore[assignment]
    mode = int(info.get("mode") or (0o755 if kind == "dir" else 0o644)) & 0o7777
    name = str(info["name"]).rstrip("/").rpartition("/")[2]
    return SourceNode(name, kind, mode, int(info.get("size") or 0), _mtime(info), 0, 0, info)


def _mtime(info: Mapping[str, Any]) -> int:
    for key in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        value = info.get(key)
        if isinstance(value, (int, float)):
            return int(value * 1_000_000_000)
        timestamp = getattr(value, "timestamp", None)
        if timestamp is not None:
            return int(timestamp() * 1_000_000_000)
    return 0


def _open_regular(full: str, path: str) -> int:
    # If a FIFO has replaced the file, opening it without O_NONBLOCK would wait for a writer.
    handle = os.open(names.to_system(full), READ_ONLY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise WorkspaceChanged(
            f"{full} is not a regular file", hint=f"run the command again, or leave it out: {ignore_hint(path)}"
        )
    return handle


def _read_first(handle: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(handle, min(size, _BLOCK))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def keeps_changing(path: str) -> WorkspaceChanged:
    """Return the error for a file that changes whenever it is read."""
    return WorkspaceChanged(
        f"{path} keeps changing while it is read",
        hint=f"stop the program that writes it, or leave it out: {ignore_hint(path)}",
    )
