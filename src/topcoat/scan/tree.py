"""Trees to scan: a local directory, or a directory of any fsspec file system."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Protocol, cast

from topcoat.errors import TopcoatError, WorkspaceChanged, WorkspaceError, WorkspaceNotFound

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

NodeKind = Literal["file", "dir", "link", "other"]

_BLOCK = 1 << 20
_MAX_ATTEMPTS = 5
_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_KINDS: dict[int, NodeKind] = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}


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


class Tree(Protocol):
    """A directory that can be listed and read. Paths are relative to its root; ``""`` is the root itself."""

    def list(self, path: str) -> list[SourceNode]:
        """List the members of a directory."""

    def stat(self, path: str) -> SourceNode:
        """Return the node at *path*, symbolic links followed."""

    def read(self, path: str) -> bytes:
        """Read a whole (small) file. Never returns a mix of two versions."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading, unbuffered."""

    def readlink(self, path: str, node: SourceNode) -> str:
        """Return the target of the symbolic link that was listed as *node*."""


class LocalTree:
    """A directory of this machine, mounted file systems included."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def full(self, path: str) -> str:
        """Return the absolute path of a member."""
        return f"{self.root}/{path}" if path else self.root

    def list(self, path: str) -> list[SourceNode]:
        full = self.full(path)
        nodes: list[SourceNode] = []
        add, kinds, new = nodes.append, _KINDS, tuple.__new__
        with reading(full), _members(full) as members:
            for member in members:
                try:
                    st = member.stat(follow_symlinks=False)
                except FileNotFoundError:  # deleted since the directory was read, such as an editor's temporary file
                    continue
                # `_local_node` and `SourceNode.__new__` spelled out: a warm scan spends most of its time here.
                mode = st.st_mode
                kind, bits = kinds.get(mode & 0o170000, "other"), mode & 0o7777
                values = (member.name, kind, bits, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, None)
                add(new(SourceNode, values))
        return nodes

    def stat(self, path: str) -> SourceNode:
        full = self.full(path)
        with reading(full):
            return _local_node(os.path.basename(full), os.stat(full))

    def read(self, path: str) -> bytes:
        full = self.full(path)
        with reading(full):
            handle = _open_regular(full)
            try:
                return _read_settled(handle, full)
            finally:
                os.close(handle)

    def open(self, path: str) -> BinaryIO:
        full = self.full(path)
        with reading(full):
            return cast(BinaryIO, open(_open_regular(full), "rb", buffering=0))

    def readlink(self, path: str, node: SourceNode) -> str:
        full = self.full(path)
        with reading(full):
            return os.readlink(full)


@contextmanager
def _members(directory: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    if os.scandir not in os.supports_fd:
        with os.scandir(directory) as members:
            yield members
        return
    # With a handle, a stat of a member does not resolve the path of the directory again.
    handle = os.open(directory, _READ_ONLY)
    try:
        with os.scandir(handle) as members:
            yield members
    finally:
        os.close(handle)


class FsspecTree:
    """A directory of an fsspec file system such as ``memory://`` or ``s3://``."""

    def __init__(self, fs: AbstractFileSystem, root: str) -> None:
        self.fs = fs
        self.root = root.rstrip("/")

    def full(self, path: str) -> str:
        """Return a member's path in the file system."""
        return f"{self.root}/{path}" if path else self.root or self.fs.root_marker

    def list(self, path: str) -> list[SourceNode]:
        full = self.full(path)
        with _reading_remote(full):
            infos: list[dict[str, Any]] = self.fs.ls(full, detail=True)
        # Object stores list the marker object of a directory as one of its members.
        own = {full.rstrip("/"), full.rstrip("/") + "/"}
        nodes: dict[str, SourceNode] = {}
        for node in [_fsspec_node(info) for info in infos if info["name"] not in own]:
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

    def read(self, path: str) -> bytes:
        with _reading_remote(self.full(path)):
            return cast(bytes, self.fs.cat_file(self.full(path)))

    def open(self, path: str) -> BinaryIO:
        with _reading_remote(self.full(path)):
            return cast(BinaryIO, self.fs.open(self.full(path), "rb"))

    def readlink(self, path: str, node: SourceNode) -> str:
        # A new request would not do: some file systems fail on a dangling link.
        return os.fsdecode(cast(str, (node.info or {})["destination"]))


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn an ``OSError`` about *path* into a `WorkspaceError`."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WorkspaceNotFound(f"{path} does not exist") from error
    except PermissionError as error:
        raise WorkspaceError(
            f"cannot read {path}: permission denied",
            hint="make it readable, or leave it out with a line in .torchxignore",
        ) from error
    except OSError as error:
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


def digest_file(tree: Tree, path: str, size: int) -> tuple[int, bytes]:
    """Return size and raw SHA-256 of a file's content; *size* is the listed one and only decides how to read.

    Raises:
        WorkspaceChanged: the file keeps changing while it is read.
    """
    if size < _BLOCK:
        data = tree.read(path)
        return len(data), hashlib.sha256(data).digest()
    for _ in range(_MAX_ATTEMPTS):
        digest, total = hashlib.sha256(), 0
        with tree.open(path) as source, reading(path):
            before = _source_version(source)
            while block := source.read(_BLOCK):
                digest.update(block)
                total += len(block)
                if before and total > before[0]:
                    break  # the file grows: reading it might never end
            if _source_version(source) == before:
                return total, digest.digest()
    raise _keeps_changing(path)


def _version(handle: int) -> tuple[int, int, int]:
    st = os.fstat(handle)
    # A program can set the mtime back, but not the ctime.
    return st.st_size, st.st_mtime_ns, st.st_ctime_ns


def _source_version(source: BinaryIO) -> tuple[int, int, int] | None:
    try:
        return _version(source.fileno())
    except (OSError, AttributeError, NotImplementedError):  # not a local file
        return None


def _local_node(name: str, st: os.stat_result) -> SourceNode:
    mode = st.st_mode
    kind = _KINDS.get(stat.S_IFMT(mode), "other")
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


def _open_regular(path: str) -> int:
    # If a FIFO has replaced the file, opening it without O_NONBLOCK would wait for a writer.
    handle = os.open(path, _READ_ONLY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise WorkspaceChanged(
            f"{path} is not a regular file",
            hint="run the command again, or leave it out with a line in .torchxignore",
        )
    return handle


def _read_settled(handle: int, path: str) -> bytes:
    for _ in range(_MAX_ATTEMPTS):
        before = _version(handle)
        size = before[0]
        data = os.read(handle, size + 1) if size < _BLOCK else b""
        if len(data) != size:
            os.lseek(handle, 0, os.SEEK_SET)
            with io.FileIO(handle, closefd=False) as whole:
                data = whole.readall()
        if len(data) == size and _version(handle) == before:
            return data
        os.lseek(handle, 0, os.SEEK_SET)
    raise _keeps_changing(path)


def _keeps_changing(path: str) -> WorkspaceChanged:
    return WorkspaceChanged(
        f"{path} keeps changing while it is read",
        hint="stop the program that writes it, or leave it out with a line in .torchxignore",
    )
