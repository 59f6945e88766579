"""One replica of a local job, as the supervisor sees it. Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Any

from topcoat.schedulers.local.output_pump import NEVER, LogFile, OutputPump
from topcoat.schedulers.local.process import signal_group, start_mark

GRACE_S = 10.0
"""Seconds between SIGTERM and SIGKILL."""


class Replica:
    """Start, watch and end the process of one replica.

    Args:
        spec: its entry in the job file (``local_jobs``).
        grace: seconds between SIGTERM and SIGKILL.

    Attributes:
        state: name of an ``AppState``.
        exit_code: of its last process, as ``subprocess`` counts it: negative for a signal, 127 if the program does not
            exist, 126 if it cannot be started; ``None`` while it runs.
        problem: why its process could not be started; empty if it was started.
        restart_pending: whether it will be started again.
        terminating: whether its process was asked to end.
    """

    def __init__(self, spec: dict[str, Any], grace: float = GRACE_S) -> None:
        self._spec = spec
        self._grace = grace
        self.role: str = spec["role"]
        self.name = f"{spec['role']}/{spec['id']}"
        self.logs = {name: LogFile(spec[name]) for name in ("stdout", "stderr", "combined")}
        self.streams: list[OutputPump] = []
        self.state = "PENDING"
        self.exit_code: int | None = None
        self.problem = ""
        self.restart_pending = False
        self._process: subprocess.Popen[bytes] | None = None
        self._start: str | None = None
        self._started_at: float | None = None
        self._ended_at: float | None = None
        self.terminating, self._kill_at = False, NEVER

    @property
    def pid(self) -> int | None:
        """The number of its process."""
        return self._process.pid if self._process else None

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that tell its processes from those of other replicas."""
        names = ("TOPCOAT_APP_ID", "TOPCOAT_ROLE", "TOPCOAT_REPLICA_ID")
        return {name: self._spec["env"].get(name, "") for name in names}

    @property
    def alive(self) -> bool:
        """Whether it has a process; one that has ended counts until ``close``."""
        return self._process is not None

    def launch(self) -> None:
        """Start the process, or set ``problem`` if that is impossible."""
        spec = self._spec
        self.restart_pending, self.exit_code, self.problem = False, None, ""
        self.terminating, self._kill_at = False, NEVER
        self._started_at, self._ended_at = time.time(), None
        with contextlib.suppress(OSError):
            os.unlink(spec["error_file"])
        try:
            process = subprocess.Popen(
                spec["args"],
                cwd=spec["cwd"],
                env={**os.environ, **spec["env"]},
                bufsize=0,
                start_new_session=True,
                **_streams(spec.get("terminal")),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.state, self._ended_at = "FAILED", self._started_at
            self.exit_code = 127 if isinstance(error, FileNotFoundError) else 126
            self.problem = _why_not_started(spec["args"][0], spec["cwd"], error)
            return
        self._process, self._start, self.state = process, None, "RUNNING"
        with contextlib.suppress(OSError):
            self._start = start_mark(process.pid)
        for name in ("stdout", "stderr"):
            if (pipe := getattr(process, name)) is None:
                continue
            self.streams.append(OutputPump(pipe.fileno(), self.logs[name], self.logs["combined"]))

    def next_deadline(self) -> float:
        """Return when to call ``poll`` (``time.monotonic``) if nothing happens before."""
        return min([self._kill_at, *(stream.flush_at for stream in self.streams)])

    def poll(self) -> bool:
        """Flush and kill what has reached its deadline; tell whether the process has ended."""
        if self._process is None:
            return False
        now = time.monotonic()
        for stream in self.streams:
            if stream.flush_at <= now:
                stream.flush()
        self.exit_code = self._process.poll()
        if self.exit_code is None and self._kill_at <= now:
            signal_group(self._process.pid, signal.SIGKILL)
            self._kill_at = NEVER
        return self.exit_code is not None

    def terminate(self) -> None:
        """Ask the process to end; ``poll`` kills it after the grace period."""
        if self._process is not None and not self.terminating:
            self.terminating, self._kill_at = True, time.monotonic() + self._grace
            signal_group(self._process.pid, signal.SIGTERM)

    def close(self) -> None:
        """Copy the last output, and kill what the process left behind, as a container would."""
        if self._process is None:
            return
        signal_group(self._process.pid, signal.SIGKILL)
        for stream in self.streams:
            stream.drain()
        for stream in self.streams:
            stream.flush()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self.streams, self._process, self._start, self._kill_at = [], None, None, NEVER
        self._ended_at = time.time()

    def facts(self) -> dict[str, Any]:
        """Return the entry of this replica in ``status.json``."""
        return {
            "role": self.role,
            "id": self._spec["id"],
            "state": self.state,
            "exit_code": self.exit_code,
            "pid": self.pid,
            "start": self._start,
            "started_at": self._started_at,
            "ended_at": self._ended_at,
        }


def _streams(terminal: str | None) -> dict[str, Any]:
    """Return the arguments of ``Popen`` for pipes, or for a *terminal* that controls the process."""
    if terminal is None:
        return {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    import fcntl
    import termios

    def take_terminal() -> None:
        descriptor = os.open(terminal, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(descriptor, number)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.close(descriptor)

    return {"preexec_fn": take_terminal}


def _why_not_started(program: str, cwd: str, error: Exception) -> str:
    if not os.path.isdir(cwd):
        return f"the working directory {cwd} does not exist"
    if isinstance(error, FileNotFoundError):
        if "/" in program and os.path.exists(os.path.join(cwd, program)):
            return f"the interpreter in the first line of {program!r} does not exist"
        return f"no program {program!r} in {cwd} or on PATH"
    return f"the program {program!r} cannot be started: {getattr(error, 'strerror', None) or error}"
