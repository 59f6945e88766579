"""End the processes that a local job has started and left behind, also those in sessions of their own.

The supervisor loads this: standard library only. Linux only; elsewhere there is nothing to find.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping

from topcoat.schedulers.local.process import proc_directory

BOOT_MARK = b"topcoat.schedulers.local.supervisor"
"""A part of the command line of every supervisor. One that a job started (``run --detach``) outlives the job."""
_PR_SET_CHILD_SUBREAPER = 36
_MAX_KILL_S = 5.0


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, instead of the init process (prctl(2))."""
    if sys.platform == "linux":
        # Python may have been built without ctypes.
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_adopted(own: Collection[int]) -> None:
    """Reap adopted children that have ended; *own* are those that somebody else waits for."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in own:
            os.waitpid(ended.si_pid, os.WNOHANG)


def kill_adopted(own: Collection[int], variables: Mapping[str, str] | None = None) -> None:
    """Kill adopted children, and those of theirs that are adopted then, for at most `_MAX_KILL_S` seconds.

    Args:
        own: the children that were not adopted.
        variables: kill only processes with these environment variables.
    """
    deadline = time.monotonic() + _MAX_KILL_S
    while sys.platform == "linux" and time.monotonic() < deadline:
        adopted = [pid for pid in _children() if pid not in own and _is_of_job(pid, variables)]
        if not adopted:
            return
        for pid in adopted:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
        reap_adopted(own)


def kill_all_of(app_id: str) -> None:
    """Kill every process of this user that has the *app_id* in its environment, except this one."""
    for pid in _processes():
        if pid != os.getpid() and _is_of_job(pid, {"TOPCOAT_APP_ID": app_id}):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _children() -> Iterator[int]:
    """Yield the children of this process that have not ended."""
    own = os.getpid()
    candidates: Iterator[int] = _processes()
    # Not every kernel has the list; then every process is looked at.
    with contextlib.suppress(OSError), open(f"/proc/{own}/task/{own}/children") as file:
        candidates = map(int, file.read().split())
    for pid in candidates:
        with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]
            if int(parent) == own and state not in (b"Z", b"X"):
                yield pid


def _processes() -> Iterator[int]:
    # Another pid namespace's /proc has numbers that name other processes here.
    if proc_directory(os.getpid()) == f"/proc/{os.getpid()}":
        yield from map(int, filter(str.isdigit, os.listdir("/proc")))


def _is_of_job(pid: int, variables: Mapping[str, str] | None) -> bool:
    """Tell whether *pid* has the *variables* and is no supervisor of another job."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if BOOT_MARK in file.read(4096):
                return False
        if not variables:
            return True
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = set(file.read().split(b"\0"))
    except OSError:
        return not variables
    return all(os.fsencode(f"{name}={value}") in environment for name, value in variables.items())
