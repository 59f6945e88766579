"""A shell on a login node that runs one command after the other: its start-up files run once, not for each command."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, NamedTuple, NoReturn, TypeVar

from topcoat.schedulers.slurm.remote_shell import one_line
from topcoat.schedulers.slurm.site import MAX_OUTPUT, VARIABLES, Variable, no_response, program_of

BEGIN = b"\x1etopcoat\x1e"
"""Printed by the remote shell to both outputs; everything before it is what its start-up files print."""

# A line is the mark of the session, the size of the command's input, and the command as `one_line` writes it. A line
# with another mark ends the shell, so that it never takes input for a command. With the size "-", the command reads its
# input itself; if it fails, the shell ends, because some of the input may be left. Every login shell (sh, csh, fish)
# understands these quotes.
SERVE = (
    "exec /bin/sh -c '"
    'printf "\\036topcoat\\036" >&2; printf "\\036topcoat\\036"; '
    'printf "%s\\037" "$HOME" ' + " ".join(f'"${name}"' for name in VARIABLES) + "; "
    'for name in zstd; do command -v $name >/dev/null && printf "%s " $name; done; printf "\\036"; '
    "IFS= read -r mark || exit 0; "
    'while IFS=" " read -r own size words && [ "$own" = "$mark" ]; do '
    "case $size in "
    '0) (eval "$(printf %b "$words")") </dev/null;; '
    '-) (eval "$(printf %b "$words")");; '
    '*) head -c $size | { (eval "$(printf %b "$words")"); code=$?; cat >/dev/null; exit $code; };; '
    "esac; code=$?; "
    'printf "\\036%s\\036" $mark >&2; printf "\\036%s %s\\036" $mark $code; '
    "[ $size != - ] || [ $code = 0 ] || exit 0; "
    "done'"
)
"""Print the home directory, variables and which optional programs there are, and run commands until the input ends."""

_SEPARATOR = b"\x1e"
_MAX_TAIL = 64
# How long the other side may take no input.
_STALLED_S = 120.0
# The user waits meanwhile.
_CLEAN_UP_S = 5.0
_T = TypeVar("_T")


class Facts(NamedTuple):
    """What a session says of its machine.

    Attributes:
        home: the home directory; empty if it has none.
        variables: those of `VARIABLES`, by name.
        programs: the optional programs that it has.
    """

    home: str
    variables: Mapping[Variable, str]
    programs: Sequence[str]


class Output(NamedTuple):
    """What a remote command did; of each output at most `MAX_OUTPUT` bytes are kept."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class SessionEnded(Exception):
    """The ssh client ended, or did not respond in time, without a result.

    Attributes:
        exit_code: that of ssh; None if it did not respond.
        printed: what came to stdout.
        errors: what came to stderr.
    """

    def __init__(self, exit_code: int | None, printed: bytes, errors: bytes) -> None:
        super().__init__(exit_code, printed, errors)
        self.exit_code, self.printed, self.errors = exit_code, printed, errors


class Session:
    """A shell on a login node. One thread uses it at a time."""

    def __init__(self, words: Sequence[str], host: str) -> None:
        """Start the ssh client *words*, which runs `SERVE` on *host*."""
        self._host = host
        # In a session of its own: ^C is for topcoat, which ends the command itself. In /: a connection that stays open
        # holds no directory of the user.
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            bufsize=0,
        )
        self._changed = threading.Condition()
        self._stdout, self._stderr = (
            _Printed(stream, self._changed) for stream in (self._process.stdout, self._process.stderr) if stream
        )
        self._is_taken: select.poll | None = None
        if self._process.stdin is not None and sys.platform != "win32":
            os.set_blocking(self._process.stdin.fileno(), False)
            self._is_taken = select.poll()
            self._is_taken.register(self._process.stdin, select.POLLOUT)
        self._mark = secrets.token_hex(16).encode()
        self._is_usable = True

    def greet(self, timeout_s: float) -> Facts:
        """Wait until the shell is ready, and return what it says of its machine; called once, before any command.

        Raises:
            SessionEnded: ssh has ended, or *timeout_s* is over.
        """
        facts = self._wait(self._facts, timeout_s) or self._fail()
        self._write(self._mark + b"\n")
        return facts

    @property
    def is_usable(self) -> bool:
        """Tell whether it can run another command."""
        return self._is_usable and self._process.poll() is None

    def run(self, command: Sequence[str], stdin: bytes | Iterator[bytes], timeout_s: float) -> Output:
        """Run a command.

        Args:
            command: the words.
            stdin: its input. Blocks are made while they are sent; the command itself finds their end, and no more are
                made if it fails before.
            timeout_s: how long the command may take, after the last block was sent.

        Raises:
            SessionEnded: the connection is lost.
            SchedulerError: the time is over.
        """
        self._is_usable = False
        with self._changed:
            self._stdout.data.clear()
            self._stderr.data.clear()
        size, blocks = (str(len(stdin)), iter([stdin])) if isinstance(stdin, bytes) else ("-", stdin)
        try:
            self._write(b"%b %b %b\n" % (self._mark, size.encode(), one_line(command).encode()))
            for block in blocks:
                if not self._write(block):
                    break
        except TimeoutError:
            self._end_input()
            raise no_response(program_of(command), _STALLED_S, self._host) from None
        except BaseException:
            self._end_input()
            raise
        result = self._wait(self._result, timeout_s)
        if result is None and not self._has_ended():
            raise no_response(program_of(command), timeout_s, self._host)
        result = result or self._fail()
        # After a failure, some of the blocks may be left: the shell ends.
        self._is_usable = size != "-" or result.exit_code == 0
        return result

    def end(self) -> None:
        """End the command, or the shell that waits for one."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _end_input(self) -> None:
        """Let the command find that its input is not complete, and remove what it has made."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLEAN_UP_S)

    def _facts(self) -> Facts | None:
        facts, end, _ = self._stdout.data.partition(BEGIN)[2].partition(_SEPARATOR)
        if not end or BEGIN not in self._stderr.data:
            return None
        home, *values, programs = os.fsdecode(bytes(facts)).split("\x1f")
        return Facts(home, dict(zip(VARIABLES, values, strict=True)), programs.split())

    def _result(self) -> Output | None:
        stdout, stderr, mark = self._stdout.data, self._stderr.data, _SEPARATOR + self._mark
        end = mark + _SEPARATOR
        at = stdout.rfind(mark, -_MAX_TAIL) if stdout.endswith(_SEPARATOR) and stderr.endswith(end) else -1
        if at < 0:
            return None
        output, errors = stdout[: min(at, MAX_OUTPUT)], stderr.removesuffix(end)[:MAX_OUTPUT]
        return Output(int(stdout[at + len(mark) : -1]), bytes(output), bytes(errors))

    def _wait(self, find: Callable[[], _T | None], timeout_s: float) -> _T | None:
        """Wait until *find* finds something in what was printed; None if ssh ends before, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: find() is not None or self._has_ended(), timeout_s)
            return find()

    def _has_ended(self) -> bool:
        return self._stdout.is_complete and self._stderr.is_complete

    def _fail(self) -> NoReturn:
        code = None
        if self._has_ended():
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_CLEAN_UP_S)
        raise SessionEnded(code, bytes(self._stdout.data), bytes(self._stderr.data))

    def _write(self, data: bytes) -> bool:
        """Send *data*; return False if the shell has ended.

        Raises:
            TimeoutError: the other side takes nothing any more, for example because its file system hangs.
        """
        assert self._process.stdin is not None
        handle, left = self._process.stdin.fileno(), memoryview(data)
        try:
            while left:
                if self._is_taken is not None and not self._is_taken.poll(_STALLED_S * 1000):
                    raise TimeoutError
                left = left[os.write(handle, left) :]
        except BrokenPipeError:
            return False
        return True


class _Printed:
    """One of the outputs of a process, which a thread reads.

    Attributes:
        data: what has come.
        is_complete: whether nothing more will come.
    """

    def __init__(self, stream: IO[bytes], changed: threading.Condition) -> None:
        self.data = bytearray()
        self.is_complete = False
        self._changed = changed
        threading.Thread(target=self._read, args=(stream,), name="topcoat-ssh", daemon=True).start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while block := os.read(stream.fileno(), 1 << 16):
                with self._changed:
                    self.data += block
                    # The end says that the command has ended.
                    del self.data[MAX_OUTPUT:-_MAX_TAIL]
                    self._changed.notify_all()
        with self._changed:
            self.is_complete = True
            self._changed.notify_all()
