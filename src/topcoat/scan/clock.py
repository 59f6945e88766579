"""How old the mtime and ctime of a file must be for the file to count as settled.

A local file system takes them from this machine's clock. A file server takes them from its own clock, which may be
behind ours: then a file that was edited a moment ago looks like an old one.
"""

from __future__ import annotations

import os
import re
import sys

# In nanoseconds. FAT has the coarsest times of all file systems in use: two seconds.
SETTLED = 2_000_000_000
# If a server's clock is further off than this, `make` and other programs have trouble too.
SETTLED_REMOTE = 60_000_000_000

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
    kind = _kind(os.fsencode(os.path.realpath(directory)))
    return SETTLED if kind is None or kind in _LOCAL else SETTLED_REMOTE


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
