"""Read, copy, clone and link plain files: no program writes them at the moment, and they have no holes.

Run as a script, this is a helper process of `pool`. It imports nothing of the package and little else, so that it
starts in 10 ms.
"""

from __future__ import annotations

import errno
import marshal
import os
import stat
import sys
import time

# Spelled out, because the module of that name takes 5 ms; type checkers know the constant.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

MAX_SIZE = 64 << 20
"""Files of more bytes are not plain: while one is read, a bar has to move."""

Task = tuple[str | bytes | int, ...]
"""``digest``, ``copy``, ``clone`` or ``link``, and the arguments of the function of that name."""

FICLONE = 0x40049409
"""The request that makes two files share their content: ioctl_ficlone(2)."""

MAX_UNWRITTEN_NS = 60_000_000_000
"""Within this time the kernel writes a changed page to the disk, by default after 30 s: vm/dirty_expire_centisecs."""

READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags to open a file for reading; without O_NONBLOCK, opening a FIFO waits for a writer."""

_MIN_CLONE = 1 << 16
_BLOCK = 1 << 20
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def do(task: Task | None) -> bytes | None:
    """Do *task*: return the digest, or no bytes for a file that was made; None if the file is not plain.

    In that case nothing was made.
    """
    if task is None:
        return None
    function: Any = _FUNCTIONS[task[0]]
    try:
        done: bytes | None = function(*task[1:])
    except OSError:
        return None
    return done


def digest(path: bytes, size: int, ctime: int, is_young: bool) -> bytes | None:
    """Return the SHA-256 of a file that was listed with this size and ctime; a young one may still be open."""
    import hashlib

    handle = os.open(path, READ_ONLY | _NO_FOLLOW)
    try:
        st = os.fstat(handle)
        if (st.st_size, st.st_ctime_ns) != (size, ctime) or not stat.S_ISREG(st.st_mode):
            return None
        if is_young and is_open_for_writing(handle):
            return None
        found, left = hashlib.sha256(), size
        # One byte more: the file may have grown.
        while block := os.read(handle, min(left, _BLOCK) + 1):
            found.update(block)
            left -= len(block)
        st = os.fstat(handle)
        is_whole = left == 0 and (st.st_size, st.st_ctime_ns) == (size, ctime)
    finally:
        os.close(handle)
    return found.digest() if is_whole else None


def copy(
    source: bytes, path: bytes, mode: int, mtime: int, size: int, unchanged_since: int, clones: bool
) -> bytes | None:
    """Copy a file that has this mtime and size, and has not changed since a time in nanoseconds.

    With *clones* the file system has reflinks. A small file that was written a moment ago is copied all the same: a
    clone waits until the content is on the disk.
    """
    handle = os.open(source, READ_ONLY)
    try:
        st = os.fstat(handle)
        # A program can set the mtime back, not the ctime.
        is_unchanged = (st.st_mtime_ns, st.st_size) == (mtime, size) and max(mtime, st.st_ctime_ns) < unchanged_since
        clones = clones and (size >= _MIN_CLONE or st.st_ctime_ns < time.time_ns() - MAX_UNWRITTEN_NS)
        if not is_unchanged or not stat.S_ISREG(st.st_mode) or (is_sparse(st) and not clones):
            return None
        return _make(handle, st, path, mode, mtime, size, clones)
    finally:
        os.close(handle)


def clone(source: bytes, path: bytes, mode: int, mtime: int, size: int) -> bytes | None:
    """Make a file that shares the content of one that has this mode, mtime and size."""
    handle = os.open(source, READ_ONLY | _NO_FOLLOW)
    try:
        st = os.fstat(handle)
        if (st.st_mode, st.st_mtime_ns, st.st_size) != (stat.S_IFREG | mode, mtime, size):
            return None
        return _make(handle, st, path, mode, mtime, size, clones=True)
    finally:
        os.close(handle)


def _make(
    source: int, before: os.stat_result, path: bytes, mode: int, mtime: int, size: int, clones: bool
) -> bytes | None:
    out, is_whole = os.open(path, _NEW_FILE, mode), False
    try:
        is_complete = _clone_bytes(source, out, size) if clones else _copy_bytes(source, out, size)
        if is_complete and os.fstat(source).st_ctime_ns == before.st_ctime_ns:
            # The umask leaves most modes as they are.
            if os.fstat(out).st_mode & 0o7777 != mode:
                os.fchmod(out, mode)
            os.utime(out, ns=(mtime, mtime))
            is_whole = True
    finally:
        os.close(out)
        if not is_whole:
            os.unlink(path)
    return b"" if is_whole else None


def _clone_bytes(source: int, out: int, size: int) -> bool:
    import fcntl

    if size:
        fcntl.ioctl(out, FICLONE, source)
    return os.fstat(out).st_size == size


def is_sparse(st: os.stat_result) -> bool:
    """Tell whether a file has holes that are worth keeping."""
    return st.st_size >= _BLOCK and getattr(st, "st_blocks", st.st_size) * 512 < st.st_size


def _copy_bytes(source: int, out: int, size: int) -> bool:
    """Copy *size* bytes; return False if there are fewer."""
    while size:
        block = os.read(source, min(_BLOCK, size))
        if not block:
            return False
        size -= len(block)
        write_all(out, block)
    return True


def write_all(handle: int, data: bytes) -> None:
    """Write all of *data*: one write may take a part only."""
    written = os.write(handle, data)
    while written < len(data):
        written += os.write(handle, memoryview(data)[written:])


def link(source: bytes, path: bytes, mode: int, mtime: int, size: int) -> bytes | None:
    """Make a hard link to a file that has this mode, mtime and size."""
    st = os.lstat(source)
    if (st.st_mode, st.st_mtime_ns, st.st_size) != (stat.S_IFREG | mode, mtime, size):
        return None
    os.link(source, path)
    return b""


_FUNCTIONS: dict[str | bytes | int, Any] = {"digest": digest, "copy": copy, "clone": clone, "link": link}


def is_open_for_writing(source: int | BinaryIO) -> bool:
    """Tell whether a program can write the open file *source* now; False if that cannot be known.

    A lease for reading is refused while the file is open, or mapped, for writing: F_SETLEASE in fcntl(2).
    """
    if sys.platform != "linux":
        return False
    import fcntl
    import signal

    try:
        # If a program opens the file meanwhile, a signal comes: the default one would end this process.
        fcntl.fcntl(source, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(source, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(source, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def _help() -> None:
    """Do each list of tasks that comes, and answer with the list of results, after its length."""
    with open(0, "rb") as requests, open(1, "wb", buffering=0) as answers:
        answers.write(b"\n")
        while True:
            try:
                tasks = marshal.load(requests)
            except EOFError:
                return
            answer = marshal.dumps([do(task) for task in tasks])
            answers.write(len(answer).to_bytes(4, "little") + answer)


if __name__ == "__main__":
    _help()
