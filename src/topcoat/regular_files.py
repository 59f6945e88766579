"""Read files that others may have replaced: a FIFO, a device or a file without end does not make the reader wait."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO


def open_regular(path: str | os.PathLike[str], *, follow_links: bool = True) -> BinaryIO:
    """Open the regular file *path* for reading; with *follow_links* False, a link is refused.

    Raises:
        OSError: the file cannot be opened, or it is a FIFO, a device, a socket or a directory.
    """
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags if follow_links else flags | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: str | os.PathLike[str], max_size: int) -> bytes:
    """Return the content of the regular file *path*.

    Raises:
        OSError: as for `open_regular`, or the file has more than *max_size* bytes.
    """
    with open_regular(path) as file:
        # The size that the system reports may be too small: it is 0 below /proc.
        is_larger = os.fstat(file.fileno()).st_size > max_size
        data = b"" if is_larger else file.read(max_size + 1)
    if is_larger or len(data) > max_size:
        raise OSError(errno.EFBIG, f"larger than {max_size} bytes", str(path))
    return data
