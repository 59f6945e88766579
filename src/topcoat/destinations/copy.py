"""Copy one file of a snapshot, by reflink if the file system supports it, and check its digest."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from itertools import groupby
from typing import BinaryIO

from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry
from topcoat.scan.tree import LocalTree

_BLOCK = 1 << 20
_PAGE = 4096
# ioctl_ficlone(2)
_FICLONE = 0x40049409
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}

# Pairs of source and target devices: an attempt for each of thousands of files would cost more than reflinks save.
_devices_without_reflink: set[tuple[int, int]] = set()


def clone_file(scan: Scan, entry: Entry, path: str) -> bool:
    """Make *path* share the blocks of the workspace's file; return False if the file system does not support it.

    Raises:
        WorkspaceChanged: the file is no longer what *entry* says.
    """
    tree, _ = scan.source_of(entry)
    if sys.platform != "linux" or not isinstance(tree, LocalTree) or not entry.size:
        return False
    import fcntl

    with scan.open(entry) as source:
        st = os.fstat(source.fileno())
        devices = st.st_dev, os.stat(os.path.dirname(path)).st_dev
        if devices in _devices_without_reflink:
            return False
        with open(path, "xb", buffering=0) as out:
            try:
                fcntl.ioctl(out.fileno(), _FICLONE, source.fileno())
            except OSError as error:
                os.unlink(path)
                if error.errno not in _NO_REFLINK:
                    raise
                _devices_without_reflink.add(devices)
                return False
            if st.st_size > entry.size:
                out.truncate(entry.size)
            with open(path, "rb", buffering=0) as clone:
                digest = hashlib.sha256()
                while block := clone.read(_BLOCK):
                    digest.update(block)
            if digest.digest() != entry.content:
                raise scan.changed(entry)
            _finish(out.fileno(), entry)
    return True


def copy_file(scan: Scan, entry: Entry, path: str) -> None:
    """Write the content of *entry* to *path*, which must not exist yet, with its mode and time.

    Raises:
        WorkspaceChanged: the file is no longer what *entry* says.
    """
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        if entry.size < _BLOCK:
            _write(out, scan.read(entry))
        else:
            digest, remaining = hashlib.sha256(), entry.size
            with scan.open(entry) as source:
                write = _write_pages if _is_sparse(source) else _write
                while remaining and (block := source.read(min(_BLOCK, remaining))):
                    digest.update(block)
                    remaining -= len(block)
                    write(out, block)
            if remaining or digest.digest() != entry.content:
                raise scan.changed(entry)
            os.ftruncate(out, entry.size)
        _finish(out, entry)
    finally:
        os.close(out)


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _is_sparse(source: BinaryIO) -> bool:
    try:
        st = os.fstat(source.fileno())
    except (OSError, AttributeError):  # not a local file
        return False
    return getattr(st, "st_blocks", st.st_size) * 512 < st.st_size


def _write_pages(handle: int, data: bytes) -> None:
    """Write *data* and leave a hole for each page of zeros."""
    for is_hole, run in groupby(range(0, len(data), _PAGE), lambda at: not data[at : at + _PAGE].strip(b"\0")):
        pages = list(run)
        part = data[pages[0] : pages[-1] + _PAGE]
        if is_hole:
            os.lseek(handle, len(part), os.SEEK_CUR)
        else:
            _write(handle, part)


def _finish(handle: int, entry: Entry) -> None:
    os.fchmod(handle, entry.mode)
    os.utime(handle, ns=(entry.mtime, entry.mtime))
