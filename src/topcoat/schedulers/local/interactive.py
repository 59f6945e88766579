"""Run a local job in the terminal of the user (``topcoat run -i``)."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios

from topcoat.schedulers.local.output_pump import LogFile
from topcoat.schedulers.local.request import PopenRequest
from topcoat.schedulers.terminal import END_OF_INPUT, check_one_replica, raw_terminal, relay, terminal_size


class Terminal:
    """A pseudo terminal: the job has one side, this process the other; the job ends with it."""

    def __init__(self, request: PopenRequest) -> None:
        """Give the terminal to the one replica of *request*.

        Raises:
            UsageError: the job has several replicas.
        """
        params = [param for role in request.role_params.values() for param in role]
        check_one_replica(len(params))
        self._ours, self._theirs = pty.openpty()
        self._resize(*terminal_size())  # the job may ask for it before ``connect`` is called
        params[0].terminal = os.ttyname(self._theirs)
        self._logs = params[0].stdout, params[0].combined

    def connect(self) -> None:
        """Copy between the user's terminal and the job, which has been started, until the job ends."""
        # From now on reading fails when the job has closed its side.
        os.close(self._theirs)
        logs = [LogFile(path) for path in self._logs if path]

        def show(data: bytes) -> None:
            for log in logs:
                log.write(data)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

        try:
            with raw_terminal(self._resize):
                relay(self._ours, lambda data: _write(self._ours, data), show, lambda: _write(self._ours, END_OF_INPUT))
        finally:
            os.close(self._ours)
            for log in logs:
                log.close()

    def _resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
