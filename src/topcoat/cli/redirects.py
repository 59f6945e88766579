"""Find the files that receive the output of this command: no scan ships them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress

_PROCESSES = "/proc"

File = tuple[int, int]
"""Device and inode."""


def redirected_files() -> set[File]:
    """Return the files that stdout and stderr go to: by ``> FILE``, or by ``| tee FILE`` on Linux."""
    files, pipes = set(), set()
    for descriptor in (1, 2):
        with suppress(OSError):
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                files.add(_identity(status))
            elif stat.S_ISFIFO(status.st_mode):
                pipes.add(_identity(status))
    if pipes and sys.platform == "linux":
        for descriptors in _stdin_readers(pipes):
            files |= _written_files(descriptors)
    return files


def _stdin_readers(pipes: set[File]) -> Iterator[str]:
    """Find the other programs of this pipeline whose stdin is one of *pipes*: their directories of descriptors."""
    group = os.getpgrp()
    with suppress(OSError):
        for name in os.listdir(_PROCESSES):
            # A shell makes a pipeline one process group.
            with suppress(OSError, ValueError):
                if os.getpgid(int(name)) == group:
                    descriptors = f"{_PROCESSES}/{name}/fd"
                    if _identity(os.stat(f"{descriptors}/0")) in pipes:
                        yield descriptors


def _written_files(descriptors: str) -> set[File]:
    files = set()
    with suppress(OSError):
        for number in os.listdir(descriptors):
            with suppress(OSError):
                path = f"{descriptors}/{number}"
                status = os.stat(path)
                # The link says how it was opened: proc_pid_fd(5).
                if stat.S_ISREG(status.st_mode) and os.lstat(path).st_mode & stat.S_IWUSR:
                    files.add(_identity(status))
    return files


def _identity(status: os.stat_result) -> File:
    return status.st_dev, status.st_ino
