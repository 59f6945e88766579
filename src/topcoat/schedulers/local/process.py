"""Run commands, and identify processes and machines.

The supervisor loads this: it imports the standard library and ``topcoat.errors`` only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
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

    Raise ``MissingDependency`` if the program does not exist, ``SchedulerError`` if it cannot be started or takes
    longer.
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
    except OSError as error:
        raise SchedulerError(f"cannot start {command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{command[0]} did not end within {timeout:g} s") from error
    return Finished(done.returncode, done.stdout, done.stderr)


def host_identity() -> str:
    """Return an identifier of this machine since its last boot: host name, boot id and pid namespace."""
    import socket

    boot, namespace = "", ""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot} {namespace}".strip()


def boot_time() -> float:
    """Return when this machine was booted, in seconds since 1970; 0 if the system does not say."""
    with contextlib.suppress(OSError, ValueError), open("/proc/stat") as file:
        return float(next(line.split()[1] for line in file if line.startswith("btime ")))
    return 0.0


def start_mark(pid: int) -> str | None:
    """Return when the process *pid* started, in the system's own unit; ``None`` if it has ended or is a zombie.

    Process ids are reused; with its start mark, an id names one process for good. Raise OSError if the system cannot
    say: this process has too many open files.
    """
    directory = proc_directory(pid)
    if directory is not None:
        try:
            with open(f"{directory}/stat", "rb") as file:
                # The name in parentheses may contain anything, so split after the last one (proc_pid_stat(5)).
                fields = file.read().rpartition(b")")[2].split()
            return None if fields[0] in (b"Z", b"X") else fields[19].decode()
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return None
    state, _, started = run(["ps", "-o", "stat=,lstart=", "-p", str(pid)]).stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def proc_directory(pid: int) -> str | None:
    """Return the directory below ``/proc`` of the process *pid* of this pid namespace; ``None`` without ``/proc``."""
    try:
        is_own = os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return None
    if is_own:
        return f"/proc/{pid}"
    # /proc was mounted in another pid namespace, and has other numbers.
    namespace = os.readlink("/proc/self/ns/pid")
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                with open(f"/proc/{name}/status") as file:
                    ids = next((line.split() for line in file if line.startswith("NSpid:")), [""])
                if ids[-1] == str(pid):
                    return f"/proc/{name}"
    return "/proc/none"


def is_process(pid: int | None, start: str | None) -> bool:
    """Tell whether the process with the number *pid* and the start mark *start* still runs."""
    return bool(pid and start) and start_mark(pid or 0) == start


def signal_process(pid: int | None, start: str | None, number: int) -> None:
    """Send *number* to the process with the number *pid* and the start mark *start*, and to no other."""
    if not pid:
        return
    with contextlib.suppress(ProcessLookupError):
        try:
            handle = os.pidfd_open(pid) if sys.platform == "linux" else -1
        except PermissionError:
            handle = -1
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            handle = -1
        try:
            # The handle keeps naming the process whose mark is checked, even if its number is reused at this moment.
            if is_process(pid, start):
                os.kill(pid, number) if handle < 0 else signal.pidfd_send_signal(handle, number)
        finally:
            if handle >= 0:
                os.close(handle)


def signal_group(pid: int, number: int) -> None:
    """Send *number* to the process group that *pid* leads, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
