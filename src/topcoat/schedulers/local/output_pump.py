"""Write what a process says into its logs. Loaded by the supervisor: standard library only."""

from __future__ import annotations

import os
import time
from struct import Struct

TIME = Struct(">dQ")
"""An entry of a log's time index: seconds since 1970, and the first byte that was written then."""
TIME_STEP = 0.05
"""Seconds of output that share one entry."""
NEVER = float("inf")
_IDLE = 0.1
_CHUNK = 65536


def times_path(log: str) -> str:
    """Return where the time index of *log* is."""
    directory, name = os.path.split(log)
    return os.path.join(directory, f".{name}.times")


class LogFile:
    """Append to one log and note in its time index when which byte was written.

    Attributes:
        error: why some of it could not be written; empty if all of it could.
    """

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.open(path, flags, 0o600)
        self._times = os.open(times_path(path), flags, 0o600)
        self._size = os.fstat(self._file).st_size
        self._noted = 0.0
        self.error = ""

    def write(self, data: bytes) -> None:
        """Append *data*; a full disk costs the log, not the job."""
        if not data:
            return
        try:
            now = time.time()
            if not 0 <= now - self._noted < TIME_STEP:
                self._noted = now
                os.write(self._times, TIME.pack(now, self._size))
            while data:
                written = os.write(self._file, data)
                self._size += written
                data = data[written:]
        except OSError as error:
            self.error = f"the logs are incomplete: {error.strerror}"

    def close(self) -> None:
        """Close the files; nothing can be written any more."""
        os.close(self._file)
        os.close(self._times)


class OutputPump:
    """Copy one output of a process into its own log, and line by line into the combined one.

    Attributes:
        source: the pipe to read from, set to non-blocking.
        flush_at: when to call ``flush``, by ``time.monotonic``; ``NEVER`` while no line is unfinished.
    """

    def __init__(self, source: int, own: LogFile, combined: LogFile) -> None:
        os.set_blocking(source, False)
        self.source, self._own, self._combined = source, own, combined
        self._partial = b""
        self.flush_at = NEVER

    def read(self) -> bool:
        """Copy what there is to read now; tell whether more may come later."""
        try:
            data = os.read(self.source, _CHUNK)
        except BlockingIOError:
            return True
        self._own.write(data)
        # Lines of the two outputs must not mix, but a progress bar or a prompt must not wait for its newline.
        lines = self._partial + data
        end = max(lines.rfind(b"\n"), lines.rfind(b"\r")) + 1
        if not data or len(lines) - end > _CHUNK:
            end = len(lines)
        self._combined.write(lines[:end])
        self._partial = lines[end:]
        self.flush_at = time.monotonic() + _IDLE if self._partial else NEVER
        return bool(data)

    def drain(self) -> None:
        """Copy what a process that has ended left in the pipe."""
        # More than a pipe can hold would be somebody else's, who has kept it open.
        for _ in range(32):
            if not self.read():
                break
        self.flush()

    def flush(self) -> None:
        """Give the combined log the line that has no end yet."""
        self._combined.write(self._partial)
        self._partial, self.flush_at = b"", NEVER
