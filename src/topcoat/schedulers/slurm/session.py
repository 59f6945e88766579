"""One command on a login node: the ssh client is started first, and gets the command when there is one."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from topcoat.helpers.plain_files import write_all
from topcoat.schedulers.slurm.remote_shell import one_line
from topcoat.schedulers.slurm.site import MAX_OUTPUT, no_response, program_of

BEGIN = b"\x1etopcoat\x1e"
"""Printed by the remote shell; everything before it is what its start-up files print."""

EXIT_255 = b"\x1etopcoat 255\x1e"
"""Printed to stderr by the remote shell if the command's exit code is 255, which is also ssh's own."""

WAIT = (
    'exec /bin/sh -c \'printf "\\036topcoat\\036"; IFS= read -r words || exit 0; eval "$(printf %b "$words")"; '
    'code=$?; [ $code != 255 ] || printf "\\036topcoat 255\\036" >&2; exit $code\''
)
"""Read a command, as `one_line` writes it, and run it. Written for every login shell (sh, csh, fish)."""


# The user waits meanwhile.
_CLEAN_UP_S = 5.0


class Session:
    """A remote shell that waits for one command; it ends with the ``with`` block."""

    def __init__(self, words: Sequence[str]) -> None:
        """Start the ssh client *words*, which runs `WAIT`."""
        self._stdout, self._stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (`end` closes them)
        # In a session of its own: ^C is for topcoat, which ends the command itself.
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=self._stdout,
            stderr=self._stderr,
            start_new_session=True,
            bufsize=0,
        )

    @property
    def is_waiting(self) -> bool:
        """Tell whether it can run a command."""
        return self._process.poll() is None

    def run(self, command: Sequence[str], stdin: bytes | Iterator[bytes], timeout_s: float) -> tuple[int, bytes, bytes]:
        """Run a command; return ssh's exit code and what was printed to stdout and stderr.

        Raises:
            SchedulerError: it takes longer than the time limit, after the last block of its input.
        """
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                write_all(self._process.stdin.fileno(), f"{one_line(command)}\n".encode())
                for block in [stdin] if isinstance(stdin, bytes) else stdin:
                    write_all(self._process.stdin.fileno(), block)
        except BaseException:
            # The command finds that its input is not complete, and removes what it has made.
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLEAN_UP_S)
            raise
        self._process.stdin.close()
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise no_response(program_of(command), timeout_s) from None
        return code, _read_all(self._stdout), _read_all(self._stderr)

    def end(self) -> None:
        """End the command, or the shell that waits for one."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._stdout, self._stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()


def _read_all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(2 * MAX_OUTPUT)
