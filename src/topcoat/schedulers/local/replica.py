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

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""


class Replica:
    """Start, watch and end the process of one replica.

    Args:
        spec: its entry in the job file (``local_jobs``).
        grace: seconds between SIGTERM and SIGKILL.

    Attributes:
        state: name of an ``AppState``.
        exit_code: of its last process: negative for a signal, 127 if there is no such program, 126 if it
            cannot be started.
        problem: why its process could not be started, empty if it could.
        again: whether it is to be started again.
        asked: whether its process was asked to end.
    """

    def __init__(self, spec: dict[str, Any], grace: float = GRACE) -> None:
        self._spec = spec
        self._grace = grace
        self.role: str = spec["role"]
        self.name = f"{spec['role']}/{spec['id']}"
        self.logs = {name: LogFile(spec[name]) for name in ("stdout", "stderr", "combined")}
        self.streams: list[OutputPump] = []
        self.state = "PENDING"
        self.exit_code: int | None = None
        self.problem = ""
        self.again = False
        self._process: subprocess.Popen[bytes] | None = None
        self._start: str | None = None
        self.asked, self._kill_at = False, NEVER

    @property
    def alive(self) -> bool:
        """Whether it has a process that has not been seen to end."""
        return self._process is not None

    def launch(self) -> None:
        """Start the process, or say in ``problem`` why that is not possible."""
        spec = self._spec
        self.again, self.exit_code, self.problem = False, None, ""
        self.asked, self._kill_at = False, NEVER
        with contextlib.suppress(OSError):
            os.unlink(spec["error_file"])
        try:
            process = subprocess.Popen(
                spec["args"],
                cwd=spec["cwd"],
                env={**os.environ, **spec["env"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self.state = "FAILED"
            self.exit_code = 127 if isinstance(error, FileNotFoundError) else 126
            self.problem = _why_not_started(spec["args"][0], spec["cwd"], error)
            return
        self._process, self._start, self.state = process, start_mark(process.pid), "RUNNING"
        for name in ("stdout", "stderr"):
            pipe = getattr(process, name)
            self.streams.append(OutputPump(pipe.fileno(), self.logs[name], self.logs["combined"]))

    def due(self) -> float:
        """Return when ``look`` has something to do, by ``time.monotonic``, if nothing happens before."""
        return min([self._kill_at, *(stream.flush_at for stream in self.streams)])

    def look(self) -> bool:
        """Do what is due; tell whether the process has ended."""
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
        """Ask the process to end; by force when its time of grace is over."""
        if self._process is not None and not self.asked:
            self.asked, self._kill_at = True, time.monotonic() + self._grace
            signal_group(self._process.pid, signal.SIGTERM)

    def close(self) -> None:
        """Copy the last output, and end what the process left behind, as a container would."""
        if self._process is None:
            return
        signal_group(self._process.pid, signal.SIGKILL)
        for stream in self.streams:
            stream.drain()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self.streams, self._process, self._start, self._kill_at = [], None, None, NEVER

    def facts(self) -> dict[str, Any]:
        """Return what ``status.json`` says about this replica."""
        return {
            "role": self.role,
            "id": self._spec["id"],
            "state": self.state,
            "exit_code": self.exit_code,
            "pid": self._process.pid if self._process else None,
            "start": self._start,
        }


def _why_not_started(program: str, cwd: str, error: OSError | ValueError) -> str:
    if not os.path.isdir(cwd):
        return f"the working directory {cwd} does not exist"
    if isinstance(error, FileNotFoundError):
        if "/" in program and os.path.exists(os.path.join(cwd, program)):
            return f"the interpreter that the first line of {program!r} names does not exist"
        return f"there is no program {program!r} in {cwd} or on PATH"
    return f"the program {program!r} cannot be started: {getattr(error, 'strerror', None) or error}"
