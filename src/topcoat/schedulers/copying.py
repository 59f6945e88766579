"""Receive files of a replica as a tar stream, and put them in their place whole or not at all."""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped

if TYPE_CHECKING:
    import tarfile


def split_path(path: str) -> tuple[str, str]:
    """Split a path of a replica into its directory and its name there; the name is ``.`` for a path like ``a/..``."""
    directory, name = posixpath.split(posixpath.normpath(path))
    return (path, ".") if name in ("", ".", "..") else (directory or ".", name)


@contextmanager
def temporary_beside(destination: str | os.PathLike[str]) -> Iterator[str]:
    """Make a directory beside *destination*, on its file system, while the block runs."""
    try:
        directory = tempfile.mkdtemp(prefix=".topcoat-", dir=os.path.dirname(os.path.abspath(destination)))
    except OSError as error:
        raise SchedulerError(f"cannot write {os.fspath(destination)}: {error.strerror}") from error
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def extract(archive: IO[bytes], directory: str, path: str) -> None:
    """Extract a tar stream with the files of *path*; nothing leaves *directory*. Half an archive gives half the files.

    Raises:
        SchedulerError: the archive is malicious, or the files cannot be written.
    """
    import tarfile

    try:
        with tarfile.open(fileobj=archive, mode="r|") as tar:
            tar.extractall(directory, filter="data")
    except tarfile.ReadError:
        return
    except (tarfile.TarError, OSError) as error:
        raise SchedulerError(f"cannot copy {path}: {escaped(str(error))}") from error


def move(source: str, destination: str | os.PathLike[str]) -> None:
    """Put *source* at *destination*; into an existing directory, if both are directories.

    Raises:
        SchedulerError: the destination is a directory, or cannot be written.
    """
    target = os.fspath(destination)
    try:
        if os.path.isdir(target) and not os.path.islink(target):
            if not os.path.isdir(source) or os.path.islink(source):
                raise SchedulerError(f"cannot write {target}: it is a directory")
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            return
        os.replace(source, target)
    except OSError as error:
        raise SchedulerError(f"cannot write {target}: {error.strerror or error}") from error


def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Let a file belong to the user who unpacks it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


class ChunkReader(io.RawIOBase):
    """Chunks of bytes as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._pending = chunk
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count
