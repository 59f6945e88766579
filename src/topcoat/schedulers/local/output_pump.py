"""Write the output of a process into its logs. The supervisor loads this: standard library only."""

from __future__ import annotations

import os
import time

from topcoat.schedulers import time_index

NEVER = float("inf")
_FLUSH_DELAY_S = 0.1
_MAX_READ = 65536
# As much as a pipe can hold, and more.
_MAX_READS_AFTER_END = 32


class LogFile:
    """Append to one log, and write to its time index when which byte was written.

    Attributes:
        error: why a part of the output could not be written; empty if there was no error.
    """

    def __init__(self, path: str) -> None:
        # A FIFO in its place is an error at once; without O_NONBLOCK, opening it would wait for a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o600)
        self._index = os.open(time_index.index_path(path), flags, 0o600)
        self._size = os.fstat(self._file).st_size
        self._last_entry = 0.0
        self.error = ""

    def write(self, data: bytes) -> None:
        """Append *data*; when the disk is full, only the log suffers."""
        if not data:
            return
        try:
            now = time.time()
            if not 0 <= now - self._last_entry < time_index.STEP_S:
                self._last_entry = now
                os.write(self._index, time_index.ENTRY.pack(now, self._size))
            while data:
                written = os.write(self._file, data)
                self._size += written
                data = data[written:]
        except OSError as error:
            self.error = f"the logs are incomplete: {error.strerror}"

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        os.close(self._index)


class OutputPump:
    """Copy one output of a process into its own log, and line by line into the combined one.

    Attributes:
        source: the pipe to read from, set to non-blocking.
        flush_at: when to call ``flush`` (``time.monotonic``); ``NEVER`` while no line is unfinished.
    """

    def __init__(self, source: int, own: LogFile, combined: LogFile) -> None:
        os.set_blocking(source, False)
        self.source, self._own, self._combined = source, own, combined
        self._partial = b""
        self.flush_at = NEVER

    def read(self) -> bool:
        """Copy the output that is available now; tell whether more may come later."""
        try:
            data = os.read(self.source, _MAX_READ)
        except BlockingIOError:
            return True
        self._own.write(data)
        # Lines of the two outputs must not mix, but a progress bar or a prompt must not wait for its newline.
        lines = self._partial + data
        end = max(lines.rfind(b"\n"), lines.rfind(b"\r")) + 1
        if len(lines) - end > _MAX_READ:
            end = len(lines)
        self._combined.write(lines[:end])
        self._partial = lines[end:]
        self.flush_at = time.monotonic() + _FLUSH_DELAY_S if self._partial else NEVER
        return bool(data)

    def drain(self) -> None:
        """Copy what a process that has ended left in the pipe; ``flush`` writes an unfinished last line."""
        # More would come from another process that keeps the pipe open.
        for _ in range(_MAX_READS_AFTER_END):
            if not self.read():
                break

    def flush(self) -> None:
        """Write the unfinished line to the combined log."""
        self._combined.write(self._partial)
        self._partial, self.flush_at = b"", NEVER
