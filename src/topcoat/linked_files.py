"""Files that topcoat obeys and that may be links: configuration, ignore files, Dockerfiles.

Messages quote their lines. A workspace from somebody else, such as a pull request, must not make them quote a file of
this machine, so its links may not lead out of it. The environment of a process (``/proc/self/environ``) is never read.
"""

from __future__ import annotations

import os
import stat

_KERNEL = ("/proc/", "/sys/")


def leads_out(path: str | bytes, directory: str | bytes) -> bool:
    """Tell whether *path*, a member of *directory*, is a link to a place outside of it."""
    path, directory = os.path.realpath(os.fsencode(path)), os.path.realpath(os.fsencode(directory))
    return os.path.commonpath([path, directory]) != directory


def is_kernel_file(path: str) -> bool:
    """Tell whether *path* is, or leads to, a file of ``/proc`` or ``/sys``; a pipe (``<(command)``) is none."""
    if not os.path.realpath(path).startswith(_KERNEL):
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
