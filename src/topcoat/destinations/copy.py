"""Copy one file of a snapshot, by reflink if the file system supports it, and check its digest."""

from __future__ import annotations

import errno
import hashlib
import os
import sys

from topcoat.scan.scanner import Scan, changed
from topcoat.scan.snapshot import Entry
from topcoat.scan.tree import LocalTree

_BLOCK = 1 << 20
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
            with open(path, "rb", buffering=0) as clone:
                digest = hashlib.sha256()
                while block := clone.read(_BLOCK):
                    digest.update(block)
            if digest.digest() != entry.content:
                raise changed(entry)
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
            digest, size = hashlib.sha256(), 0
            with scan.open(entry) as source:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    size += len(block)
                    _write(out, block)
            if size != entry.size or digest.digest() != entry.content:
                raise changed(entry)
        _finish(out, entry)
    finally:
        os.close(out)


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _finish(handle: int, entry: Entry) -> None:
    os.fchmod(handle, entry.mode)
    os.utime(handle, ns=(entry.mtime, entry.mtime))
