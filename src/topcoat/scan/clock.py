"""How old the mtime and ctime of a file must be: for the file to count as settled, and for a write to have ended.

A local file system takes them from this machine's clock. A file server takes them from its own clock, which may be
behind ours: then a file that was edited a moment ago looks like an old one.
"""

from __future__ import annotations

import os
import re
import sys
import time
from functools import cache

from topcoat.scan.names import encode

# In nanoseconds. FAT has the coarsest times of all file systems in use: two seconds.
SETTLED = 2_000_000_000
# If a server's clock is further off than this, `make` and other programs have trouble too.
SETTLED_REMOTE = 60_000_000_000

# A write moves the ctime when it begins. It copies at least a byte in two nanoseconds, and at most 2 GiB: write(2).
COPY_NS_PER_BYTE = 2
_MAX_WRITE_BYTES = 1 << 31
# How long a program that was seen writing may pause, because others use the processor.
_MAX_WRITER_PAUSE_NS = 10_000_000
_MAX_TICK_NS = 10_000_000
# clock_getres(2): the clock that file systems use.
_CLOCK_REALTIME_COARSE = 5

# File systems that run in this machine's kernel. All others (NFS, SMB, 9P, FUSE, Lustre...) may have another clock.
_LOCAL = frozenset((
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660", "jfs", "msdos",
    "nilfs2", "ntfs3", "overlay", "ramfs", "reiserfs", "squashfs", "tmpfs", "ubifs", "udf", "ufs", "vfat", "xfs", "zfs",
))  # fmt: skip
_MOUNTS = "/proc/self/mountinfo"
_OCTAL = re.compile(rb"\\([0-7]{3})")


def settling_time(directory: str) -> int:
    """Return how old, in nanoseconds, the times of a file in *directory* must be for the file to count as settled.

    A file system of unknown type counts as local.
    """
    if sys.platform != "linux":
        return SETTLED
    kind = _kind(os.path.realpath(encode(directory)))
    return SETTLED if kind is None or kind in _LOCAL else SETTLED_REMOTE


def is_settled(ctime: int, size: int, *, is_busy: bool = False) -> bool:
    """Tell whether a write that set *ctime* has ended in a file of *size* bytes; *is_busy*: one was seen.

    A time in the future is an old one: the clock was set back.
    """
    age = time.time_ns() - ctime
    longest = 2 * _tick() + COPY_NS_PER_BYTE * min(size, _MAX_WRITE_BYTES) + (_MAX_WRITER_PAUSE_NS if is_busy else 0)
    return not -longest < age < longest


@cache
def _tick() -> int:
    """Return the resolution of the times of files, in nanoseconds."""
    return round(time.clock_getres(_CLOCK_REALTIME_COARSE) * 1e9) if sys.platform == "linux" else _MAX_TICK_NS


def _kind(path: bytes) -> str | None:
    """Return the type of the file system that holds *path* (proc_pid_mountinfo(5))."""
    try:
        with open(_MOUNTS, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    longest, kind = -1, None
    for line in lines:
        before, separator, after = line.partition(b" - ")
        fields = before.split(b" ")
        if not separator or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), fields[4])
        # If several are mounted at one place, the last one is visible.
        if len(point) >= longest and (path + b"/").startswith(point.rstrip(b"/") + b"/"):
            longest, kind = len(point), os.fsdecode(after.split(b" ")[0])
    return kind
