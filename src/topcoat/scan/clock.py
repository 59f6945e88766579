"""How long after its last change a file counts as settled, by the clock that writes its times.

A local file system takes them from the clock of this machine. A file server takes them from its own, which may be
behind ours: an edit of just now then looks like an old one.
"""

from __future__ import annotations

import os
import re
import sys

# The coarsest clock of a file system in use is FAT's, with two seconds.
SETTLED = 2_000_000_000
# A server's clock that is further off than this would trouble `make` and everybody else too.
SETTLED_REMOTE = 60_000_000_000

# Those that run in this machine's kernel; all others (NFS, SMB, 9P, FUSE, Lustre...) may have a clock of their own.
_LOCAL = frozenset((
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660", "jfs", "msdos",
    "nilfs2", "ntfs3", "overlay", "ramfs", "reiserfs", "squashfs", "tmpfs", "ubifs", "udf", "ufs", "vfat", "xfs", "zfs",
))  # fmt: skip
_MOUNTS = "/proc/self/mountinfo"
_OCTAL = re.compile(rb"\\([0-7]{3})")


def settling_time(directory: str) -> int:
    """Return how old, in nanoseconds, a file's times in *directory* have to be for the file to count as settled.

    Where it cannot be told what kind of file system this is, the clock is taken for ours.
    """
    if sys.platform != "linux":
        return SETTLED
    kind = _kind(os.fsencode(os.path.realpath(directory)))
    return SETTLED if kind is None or kind in _LOCAL else SETTLED_REMOTE


def _kind(path: bytes) -> str | None:
    """Return the type of the file system that *path* lies in (proc_pid_mountinfo(5))."""
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
        # Of several mounted in one place, the last one is seen.
        if len(point) >= longest and (path + b"/").startswith(point.rstrip(b"/") + b"/"):
            longest, kind = len(point), os.fsdecode(after.split(b" ")[0])
    return kind
