"""Read or make many plain files with several processors: helper processes do a part of the tasks.

Threads would not help: each system call is short, and they would wait for each other between two of them.
"""

from __future__ import annotations

import marshal
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from topcoat.errors import TopcoatError
from topcoat.helpers import plain_files
from topcoat.helpers.plain_files import Task, do

if TYPE_CHECKING:
    import select
    import subprocess

MIN_TASKS = 1000
"""For fewer tasks, a helper takes longer to start than it saves."""

_MAX_HELPERS = 3
_MAX_CHUNK_TASKS, _MAX_CHUNK_SIZE = 64, 8 << 20
# While a helper works on one chunk, the next one waits in its pipe.
_MAX_GIVEN = 2
# For chunks of at most 64 MiB.
_MAX_WAIT_S = 300.0
_LENGTH = 4

Result = bytes | None
Done = Callable[[int], object]


class HelperPool:
    """Helper processes for a ``with`` block, which end when the block ends. A pool for few tasks has none."""

    def __init__(self, count: int) -> None:
        """Start as many helpers as pay for *count* tasks; they are ready a moment later."""
        self._helpers: list[_Helper] = []
        program = plain_files.__file__
        # A frozen or embedding program would start itself again.
        is_python = os.path.basename(sys.executable or "").startswith(("python", "pypy")) and os.path.isfile(program)
        if count >= MIN_TASKS and is_python and hasattr(os, "sched_getaffinity"):
            with suppress(OSError):  # too many processes: then there are fewer helpers
                for _ in range(min(len(os.sched_getaffinity(0)) - 1, _MAX_HELPERS)):
                    self._helpers.append(_Helper([sys.executable, "-I", "-S", program]))

    def __enter__(self) -> HelperPool:
        return self

    def __exit__(self, *error: object) -> None:
        for helper in self._helpers:
            helper.end()

    def do_all(self, tasks: Sequence[Task | None], sizes: Sequence[int], done: Done | None = None) -> list[Result]:
        """Do *tasks* in any order.

        Args:
            tasks: what to do; None for a file that is known not to be plain.
            sizes: the bytes of each task.
            done: called with each number of bytes that has been done.

        Returns:
            What `plain_files.do` returns for each task.

        Raises:
            TopcoatError: a helper process was killed, or does not answer.
        """
        work = _Work(tasks, sizes, done)
        while work.chunks:
            for helper in self._helpers:
                helper.exchange(work)
            if work.chunks:
                chunk = work.chunks.popleft()
                work.finish(chunk, [do(task) for task in work.tasks[chunk]])
        for helper in self._helpers:
            helper.wait(work)
        return work.results


class _Work:
    """Tasks in chunks, and the results so far."""

    def __init__(self, tasks: Sequence[Task | None], sizes: Sequence[int], done: Done | None) -> None:
        self.tasks, self._sizes, self._done = list(tasks), sizes, done
        self.results: list[Result] = [None] * len(tasks)
        self.chunks: deque[slice] = deque()
        start = total = 0
        for number, size in enumerate(sizes):
            if number - start == _MAX_CHUNK_TASKS or (total + size > _MAX_CHUNK_SIZE and number > start):
                self.chunks.append(slice(start, number))
                start, total = number, 0
            total += size
        if tasks:
            self.chunks.append(slice(start, len(tasks)))

    def finish(self, chunk: slice, results: list[Result]) -> None:
        """Keep the results of a chunk."""
        self.results[chunk] = results
        if self._done:
            pairs = zip(self._sizes[chunk], results, strict=True)
            self._done(sum([size for size, result in pairs if result is not None]))


class _Helper:
    """A process that does chunks of tasks."""

    def __init__(self, command: list[str]) -> None:
        # Imported here: few files need no helper, and its import takes longer than their scan.
        import select
        import subprocess

        # In a session of its own it gets no ^C: this process ends it.
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._poll: select.poll = select.poll()
        self._poll.register(_pipe(self._process.stdout), select.POLLIN)
        self._is_ready = False
        self._given: deque[slice] = deque()
        self._answers = b""

    def exchange(self, work: _Work) -> None:
        """Take the answers that are there, and give the helper more chunks."""
        self._read(work, 0)
        while self._is_ready and work.chunks and len(self._given) < _MAX_GIVEN:
            chunk = work.chunks.pop()
            self._given.append(chunk)
            with suppress(BrokenPipeError):  # the next read says that it has ended
                pipe = _pipe(self._process.stdin)
                pipe.write(marshal.dumps(work.tasks[chunk]))
                pipe.flush()

    def wait(self, work: _Work) -> None:
        """Wait for the answers to all that was given."""
        deadline = time.monotonic() + _MAX_WAIT_S
        while self._given:
            self._read(work, 1000)
            if time.monotonic() > deadline:
                raise TopcoatError("a helper process does not answer", hint="run the command again")

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        with self._process, suppress(BrokenPipeError):
            _pipe(self._process.stdin).close()

    def _read(self, work: _Work, timeout_ms: int) -> None:
        if not self._poll.poll(timeout_ms):
            return
        data = os.read(_pipe(self._process.stdout).fileno(), 1 << 16)
        if not data and self._given:
            raise TopcoatError("a helper process was killed", hint="run the command again; maybe memory ran out")
        self._answers += data
        if data and not self._is_ready:
            self._is_ready, self._answers = True, self._answers[1:]
        while len(self._answers) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._answers[:_LENGTH], "little")
            if len(self._answers) < end:
                return
            work.finish(self._given.popleft(), marshal.loads(self._answers[_LENGTH:end]))
            self._answers = self._answers[end:]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
