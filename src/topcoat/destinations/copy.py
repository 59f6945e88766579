"""Copy one file of a snapshot: by reflink if the file system supports it, and never as another version."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import time
from functools import lru_cache, partial
from itertools import groupby
from typing import BinaryIO

from topcoat.helpers.plain_files import FICLONE, READ_ONLY, copy_bytes, is_sparse, write_all
from topcoat.scan.clock import settling_time
from topcoat.scan.names import to_system
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry
from topcoat.scan.tree import LocalTree
from topcoat.transfers import advance

_BLOCK = 1 << 20
_PAGE = 4096
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}

# Pairs of source and target devices: an attempt for each of thousands of files would cost more than reflinks save.
_devices_without_reflink: set[tuple[int, int]] = set()
# No scan of this process began earlier: whatever needs one imports this module first.
_STARTED_NS = time.time_ns()


def copy_file(scan: Scan, entry: Entry, path: str) -> None:
    """Write the content of *entry* to *path*, which must not exist yet, with its mode and time.

    Raises:
        WorkspaceChanged: the file is no longer what *entry* says.
    """
    tree, name = scan.source_of(entry)
    if not isinstance(tree, LocalTree):
        with new_file(path, entry) as out:
            if entry.size < _BLOCK:
                write_all(out.handle, scan.read(entry))
                advance("copying", entry.size)
            else:
                with scan.open(entry) as source:
                    _copy_checked(scan, entry, source, out.handle)
        return
    try:
        handle = os.open(to_system(tree.full(name)), READ_ONLY)
    except OSError:
        # It raises the error that says what is wrong.
        scan.open(entry).close()
        raise
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise scan.changed(entry)
        with new_file(path, entry) as out:
            is_unchanged = _is_settled(before, entry, tree.root)
            devices = before.st_dev, out.device
            if entry.size and devices not in _devices_without_reflink and reflink(handle, out.handle):
                os.ftruncate(out.handle, entry.size)
                advance("copying", entry.size)
                if not is_unchanged:
                    with open(out.handle, "rb", buffering=0, closefd=False) as clone:
                        _check(scan, entry, clone)
            elif is_unchanged and not is_sparse(before):
                if not copy_bytes(handle, out.handle, entry.size, partial(advance, "copying")):
                    raise scan.changed(entry)
            else:
                with open(handle, "rb", buffering=0, closefd=False) as source:
                    _copy_checked(scan, entry, source, out.handle)
            if is_unchanged and os.fstat(handle).st_ctime_ns != before.st_ctime_ns:
                raise scan.changed(entry)
    finally:
        os.close(handle)


class new_file:  # noqa: N801 (a context manager; a generator would take as long as the copy of a small file)
    """A new file at *path*; it gets the mode and the time of *entry* at the end of the ``with`` block."""

    __slots__ = ("_has_mode", "_mode", "_mtime", "device", "handle")

    def __init__(self, path: str, entry: Entry) -> None:
        self._mode, self._mtime = entry.mode, entry.mtime
        self.handle = os.open(path, _NEW_FILE, entry.mode)
        st = os.fstat(self.handle)
        self.device = st.st_dev
        # The umask leaves most modes as they are.
        self._has_mode = st.st_mode & 0o7777 == entry.mode

    def __enter__(self) -> new_file:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                if not self._has_mode:
                    os.fchmod(self.handle, self._mode)
                os.utime(self.handle, ns=(self._mtime, self._mtime))
        finally:
            os.close(self.handle)


def reflink(source: int, out: int) -> bool:
    """Make the new file *out* share all blocks of *source*; return False if the file system does not support it."""
    if sys.platform != "linux":
        return False
    devices = os.fstat(source).st_dev, os.fstat(out).st_dev
    if devices in _devices_without_reflink:
        return False
    import fcntl

    try:
        fcntl.ioctl(out, FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        _devices_without_reflink.add(devices)
        return False
    return True


def _is_settled(st: os.stat_result, entry: Entry, root: str) -> bool:
    """Tell from the stat data whether a file is what was scanned: a program can set the mtime back, not the ctime."""
    return (
        st.st_size == entry.size
        and st.st_mtime_ns == entry.mtime
        and max(st.st_mtime_ns, st.st_ctime_ns) < unchanged_since(root)
    )


@lru_cache(maxsize=16)
def unchanged_since(root: str) -> int:
    """Return the time before which a file in *root* must have changed last to be what any scan found."""
    return _STARTED_NS - settling_time(root)


def _copy_checked(scan: Scan, entry: Entry, source: BinaryIO, out: int) -> None:
    write = _write_pages if _has_holes(source) else write_all
    digest, remaining = hashlib.sha256(), entry.size
    while remaining and (block := source.read(min(_BLOCK, remaining))):
        digest.update(block)
        remaining -= len(block)
        write(out, block)
        advance("copying", len(block))
    if remaining or digest.digest() != entry.content:
        raise scan.changed(entry)
    os.ftruncate(out, entry.size)


def _check(scan: Scan, entry: Entry, file: BinaryIO) -> None:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    if digest.digest() != entry.content:
        raise scan.changed(entry)


def _has_holes(source: BinaryIO) -> bool:
    try:
        return is_sparse(os.fstat(source.fileno()))
    except (OSError, AttributeError):  # not a local file
        return False


def _write_pages(handle: int, data: bytes) -> None:
    """Write *data* and leave a hole for each page of zeros."""
    for is_hole, run in groupby(range(0, len(data), _PAGE), lambda at: not data[at : at + _PAGE].strip(b"\0")):
        pages = list(run)
        part = data[pages[0] : pages[-1] + _PAGE]
        if is_hole:
            os.lseek(handle, len(part), os.SEEK_CUR)
        else:
            write_all(handle, part)
