"""Run commands, and identify processes and machines.

The supervisor loads this: it imports the standard library and ``topcoat.errors`` only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from topcoat.errors import MissingDependency, SchedulerError


class Finished(NamedTuple):
    """Hold the result of a command."""

    exit_code: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, text: str = "", timeout: float = 60
) -> Finished:
    """Run *command* to its end with *text* as its input, for at most *timeout* seconds; any exit code is returned.

    Raise ``MissingDependency`` if the program does not exist, ``SchedulerError`` if it takes longer.
    """
    try:
        done = subprocess.run(
            list(command),
            env=None if env is None else dict(env),
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingDependency(
            f"no program {command[0]!r} on this machine", hint=f"install {command[0]}, or fix PATH"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{command[0]} did not end within {timeout:g} s") from error
    return Finished(done.returncode, done.stdout, done.stderr)


def host_identity() -> str:
    """Return an identifier of this machine since its last boot: host name and boot id."""
    import socket

    boot = ""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    return f"{socket.gethostname()} {boot}".strip()


def start_mark(pid: int) -> str | None:
    """Return when the process *pid* started, in the system's own unit; ``None`` if it has ended or is a zombie.

    Process ids are reused; with its start mark, an id names one process for good.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may contain anything, so split after the last one (proc_pid_stat(5)).
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return None
    state, _, started = run(["ps", "-o", "stat=,lstart=", "-p", str(pid)]).stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def signal_group(pid: int, number: int) -> None:
    """Send *number* to the process group that *pid* leads, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
