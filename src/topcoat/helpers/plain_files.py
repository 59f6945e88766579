"""List directories; read, copy, clone and link plain files: no program writes them now, and they have no holes.

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
    from collections.abc import Callable
    from typing import Any, BinaryIO
else:
    Any = object

MAX_SIZE = 64 << 20
"""Files of more bytes are not plain: while one is read, a bar has to move."""

File = tuple[Any, ...]
"""A file's name, its size in bytes, and the other arguments of the function that reads or makes it."""

Batch = tuple[str, bytes, bytes, tuple[int, ...], list[File]]
"""Files of one directory: what is done (a key of `_FUNCTIONS`), the directory, that of the new files (none if none are
made), the arguments that all files share, and the files."""

Result = bytes | None
"""The digest of a file, the packed list of a directory, or no bytes for a file that was made; None if the file is not
plain: then nothing was made."""

Member = tuple[str, str, int, int, int, int, int, None]
"""A member of a directory: name, kind, permission bits, size in bytes, mtime and ctime in nanoseconds, inode, and
nothing in the place of what only remote file systems say."""

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
"""The kinds of members that a snapshot can hold, by their part of ``st_mode``."""

LENGTH = 4
"""Bytes of the length of a message to a helper, and from it."""

FICLONE = 0x40049409
"""The request that makes two files share their content: ioctl_ficlone(2)."""

MAX_UNWRITTEN_NS = 60_000_000_000
"""Within this time the kernel writes a changed page to the disk, by default after 30 s: vm/dirty_expire_centisecs."""

READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags to open a file for reading; without O_NONBLOCK, opening a FIFO waits for a writer."""

_MIN_CLONE = 1 << 16
_BLOCK = 1 << 20
# Without read permission, a directory's members can still be opened by name.
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def do(batch: Batch) -> list[Result]:
    """Do a batch, and return the result of each file."""
    how, source, target, shared, files = batch
    function = _FUNCTIONS[how]
    results: list[Result] = []
    handles: list[int] = []
    try:
        # With handles, a system call does not resolve the path of the directory again.
        for directory in filter(None, (source, target)):
            handles.append(os.open(directory, _DIRECTORY))
        for file in files:
            try:
                results.append(function(*handles, *shared, *file))
            except OSError:
                results.append(None)
    except (OSError, NotImplementedError):  # no such directory; no system calls with handles
        results = [None] * len(files)
    finally:
        for handle in handles:
            os.close(handle)
    return results


def digest(source: int, name: bytes, size: int, ctime: int, is_young: bool) -> Result:
    """Return the SHA-256 of a file that was listed with this size and ctime; a young one may still be open."""
    import hashlib

    handle = os.open(name, READ_ONLY | _NO_FOLLOW, dir_fd=source)
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
    source: int, target: int, unchanged_since: int, clones: bool, name: bytes, size: int, mode: int, mtime: int
) -> Result:
    """Copy a file that has this size and mtime, and has not changed since a time in nanoseconds.

    With *clones* the file system has reflinks. A small file that was written a moment ago is copied all the same: a
    clone waits until the content is on the disk.
    """
    handle = os.open(name, READ_ONLY, dir_fd=source)
    try:
        st = os.fstat(handle)
        # A program can set the mtime back, not the ctime.
        is_unchanged = (st.st_mtime_ns, st.st_size) == (mtime, size) and max(mtime, st.st_ctime_ns) < unchanged_since
        clones = clones and (size >= _MIN_CLONE or st.st_ctime_ns < time.time_ns() - MAX_UNWRITTEN_NS)
        if not is_unchanged or not stat.S_ISREG(st.st_mode) or (is_sparse(st) and not clones):
            return None
        return _make(handle, st, target, name, size, mode, mtime, clones)
    finally:
        os.close(handle)


def clone(source: int, target: int, name: bytes, size: int, mode: int, mtime: int) -> Result:
    """Make a file that shares the content of one that has this size, mode and mtime."""
    handle = os.open(name, READ_ONLY | _NO_FOLLOW, dir_fd=source)
    try:
        st = os.fstat(handle)
        if (st.st_mode, st.st_mtime_ns, st.st_size) != (stat.S_IFREG | mode, mtime, size):
            return None
        return _make(handle, st, target, name, size, mode, mtime, clones=True)
    finally:
        os.close(handle)


def _make(
    source: int, before: os.stat_result, target: int, name: bytes, size: int, mode: int, mtime: int, clones: bool
) -> Result:
    out, is_whole = os.open(name, _NEW_FILE, mode, dir_fd=target), False
    try:
        is_complete = _clone_bytes(source, out, size) if clones else copy_bytes(source, out, size)
        if is_complete and os.fstat(source).st_ctime_ns == before.st_ctime_ns:
            # The umask leaves most modes as they are.
            if os.fstat(out).st_mode & 0o7777 != mode:
                os.fchmod(out, mode)
            os.utime(out, ns=(mtime, mtime))
            is_whole = True
    finally:
        os.close(out)
        if not is_whole:
            os.unlink(name, dir_fd=target)
    return b"" if is_whole else None


def _clone_bytes(source: int, out: int, size: int) -> bool:
    import fcntl

    if size:
        fcntl.ioctl(out, FICLONE, source)
    return os.fstat(out).st_size == size


def is_sparse(st: os.stat_result) -> bool:
    """Tell whether a file has holes that are worth keeping."""
    return st.st_size >= _BLOCK and getattr(st, "st_blocks", st.st_size) * 512 < st.st_size


def copy_bytes(source: int, out: int, size: int, done: Callable[[int], object] | None = None) -> bool:
    """Copy *size* bytes, and call *done* with each number of them; return False if there are fewer."""
    while size:
        count = copy_some(source, out, size)
        if not count:
            return False
        size -= count
        if done:
            done(count)
    return True


def copy_some(source: int, out: int, size: int) -> int:
    """Copy at most *size* bytes from where two open files stand; return how many, 0 at the end of *source*."""
    if sys.platform == "linux":
        try:
            # On ext4, read and write took 1 to 2.5 times as long. copy_file_range would make reflinks, which wait until
            # the content is on the disk.
            if count := os.sendfile(out, source, None, min(size, _BLOCK)):
                return count
        except OSError:  # some file systems cannot; of any other error, write says more
            pass
    block = os.read(source, min(_BLOCK, size))
    write_all(out, block)
    return len(block)


def write_all(handle: int, data: bytes) -> None:
    """Write all of *data*: one write may take a part only."""
    written = os.write(handle, data)
    while written < len(data):
        written += os.write(handle, memoryview(data)[written:])


def link(source: int, target: int, name: bytes, size: int, mode: int, mtime: int) -> Result:
    """Make a hard link to a file that has this size, mode and mtime."""
    st = os.stat(name, dir_fd=source, follow_symlinks=False)
    if st.st_size != size or st.st_mtime_ns != mtime or st.st_mode != stat.S_IFREG | mode:
        return None
    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    return b""


def list_members(directory: int | str) -> list[Member]:
    """List a directory, which may be open."""
    members: list[Member] = []
    add, kinds = members.append, KINDS
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                st = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # deleted since the directory was read, such as an editor's temporary file
                continue
            mode = st.st_mode
            kind = kinds.get(mode & 0o170000, "other")
            # A warm scan spends most of its time here.
            add((entry.name, kind, mode & 0o7777, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, None))
    return members


def pack_members(root: int, path: bytes, _size: int) -> Result:
    """Return the members of the directory *path* below *root* as `unpack_members` takes them."""
    handle = os.open(path, READ_ONLY | _NO_FOLLOW, dir_fd=root)
    try:
        return marshal.dumps(list_members(handle))
    finally:
        os.close(handle)


def unpack_members(packed: bytes) -> list[Member]:
    """Return what `pack_members` has packed."""
    members: list[Member] = marshal.loads(packed)
    return members


_FUNCTIONS: dict[str, Any] = {"digest": digest, "copy": copy, "clone": clone, "link": link, "list": pack_members}


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
    """Do each list of batches that comes, and answer with the list of results; both come after their length."""
    with open(0, "rb") as requests, open(1, "wb", buffering=0) as answers:
        answers.write(b"\n")
        while length := requests.read(LENGTH):
            batches = marshal.loads(requests.read(int.from_bytes(length, "little")))
            answer = marshal.dumps([do(batch) for batch in batches])
            answers.write(len(answer).to_bytes(LENGTH, "little") + answer)


if __name__ == "__main__":
    _help()
