"""Trees to scan: a local directory, or a directory on any fsspec file system."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Protocol, cast

from topcoat.errors import WorkspaceChanged, WorkspaceError, WorkspaceNotFound

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

NodeKind = Literal["file", "dir", "link", "other"]

_BLOCK = 1 << 20
_TRIES = 5


class Node(NamedTuple):
    """One member of a directory as the tree lists it; times in nanoseconds, *inode* 0 where there is none."""

    name: str
    kind: NodeKind
    mode: int
    size: int
    mtime: int
    ctime: int
    inode: int
    info: Mapping[str, object] | None = None


class Tree(Protocol):
    """A directory that can be listed and read. Paths are relative to its root; ``""`` is the root itself."""

    def list(self, path: str) -> list[Node]:
        """List the members of a directory."""

    def read(self, path: str) -> bytes:
        """Read a whole file: for small ones. Never returns a mix of two versions."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading, unbuffered."""

    def readlink(self, path: str) -> str:
        """Return the target of a symbolic link."""


class LocalTree:
    """A directory of the local machine, or of anything mounted on it."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def full(self, path: str) -> str:
        """Return the absolute path of a member."""
        return f"{self.root}/{path}" if path else self.root

    def list(self, path: str) -> list[Node]:
        with reading(self.full(path)), os.scandir(self.full(path)) as members:
            return [_local_node(member.name, member.stat(follow_symlinks=False)) for member in members]

    def read(self, path: str) -> bytes:
        full = self.full(path)
        with reading(full):
            handle = os.open(full, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                return _read_settled(handle, full)
            finally:
                os.close(handle)

    def open(self, path: str) -> BinaryIO:
        full = self.full(path)
        with reading(full):
            return cast(BinaryIO, open(full, "rb", buffering=0))

    def readlink(self, path: str) -> str:
        full = self.full(path)
        with reading(full):
            return os.readlink(full)


class FsspecTree:
    """A directory on an fsspec file system such as ``memory://`` or ``s3://``."""

    def __init__(self, fs: AbstractFileSystem, root: str) -> None:
        self.fs = fs
        self.root = root.rstrip("/")

    def full(self, path: str) -> str:
        """Return the file system's own name of a member."""
        return f"{self.root}/{path}" if path else self.root or self.fs.root_marker

    def list(self, path: str) -> list[Node]:
        full = self.full(path)
        with reading(full):
            infos: list[dict[str, Any]] = self.fs.ls(full, detail=True)
        # Object stores list a directory's own marker object among its members.
        own = {full.rstrip("/"), full.rstrip("/") + "/"}
        return [_fsspec_node(info) for info in infos if info["name"] not in own]

    def read(self, path: str) -> bytes:
        with reading(self.full(path)):
            return cast(bytes, self.fs.cat_file(self.full(path)))

    def open(self, path: str) -> BinaryIO:
        with reading(self.full(path)):
            return cast(BinaryIO, self.fs.open(self.full(path), "rb"))

    def readlink(self, path: str) -> str:
        with reading(self.full(path)):
            return str(self.fs.info(self.full(path))["destination"])


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what an operating system says about *path* into an error of ours."""
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


def digest_file(tree: Tree, path: str, size: int) -> tuple[int, bytes]:
    """Return size and raw SHA-256 of a file's content; *size* is what the listing said, and only steers the reading.

    Raises:
        WorkspaceChanged: the file keeps changing while it is read.
    """
    if size < _BLOCK:
        data = tree.read(path)
        return len(data), hashlib.sha256(data).digest()
    for _ in range(_TRIES):
        digest, total = hashlib.sha256(), 0
        with tree.open(path) as source, reading(path):
            before = _version(source)
            while block := source.read(_BLOCK):
                digest.update(block)
                total += len(block)
            if _version(source) == before:
                return total, digest.digest()
    raise _keeps_changing(path)


def _version(source: BinaryIO) -> tuple[int, int] | None:
    try:
        st = os.fstat(source.fileno())
    except (OSError, AttributeError, NotImplementedError):
        return None
    return st.st_size, st.st_mtime_ns


def _local_node(name: str, st: os.stat_result) -> Node:
    mode = st.st_mode
    kind: NodeKind
    if stat.S_ISREG(mode):
        kind = "file"
    elif stat.S_ISDIR(mode):
        kind = "dir"
    elif stat.S_ISLNK(mode):
        kind = "link"
    else:
        kind = "other"
    return Node(name, kind, mode & 0o7777, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino)


def _fsspec_node(info: Mapping[str, Any]) -> Node:
    kind: NodeKind
    if info.get("islink") and "destination" in info:
        kind = "link"
    else:
        kind = {"file": "file", "directory": "dir"}.get(info["type"], "other")  # type: ignore[assignment]
    mode = int(info.get("mode") or (0o755 if kind == "dir" else 0o644)) & 0o7777
    name = str(info["name"]).rstrip("/").rpartition("/")[2]
    return Node(name, kind, mode, int(info.get("size") or 0), _mtime(info), 0, 0, info)


def _mtime(info: Mapping[str, Any]) -> int:
    for key in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        value = info.get(key)
        if isinstance(value, (int, float)):
            return int(value * 1_000_000_000)
        timestamp = getattr(value, "timestamp", None)
        if timestamp is not None:
            return int(timestamp() * 1_000_000_000)
    return 0


def _read_settled(handle: int, path: str) -> bytes:
    for _ in range(_TRIES):
        before = os.fstat(handle)
        data = os.read(handle, before.st_size + 1) if before.st_size < _BLOCK else b""
        if len(data) != before.st_size:
            os.lseek(handle, 0, os.SEEK_SET)
            with io.FileIO(handle, closefd=False) as whole:
                data = whole.readall()
        after = os.fstat(handle)
        if len(data) == after.st_size and before.st_mtime_ns == after.st_mtime_ns and before.st_size == after.st_size:
            return data
        os.lseek(handle, 0, os.SEEK_SET)
    raise _keeps_changing(path)


def _keeps_changing(path: str) -> WorkspaceChanged:
    return WorkspaceChanged(
        f"{path} keeps changing while it is read",
        hint="stop what writes it, or leave it out with a line in .torchxignore",
    )
