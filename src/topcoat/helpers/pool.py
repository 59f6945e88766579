"""Read or make many plain files, and list directories, with several processors: helper processes do a part.

Threads would not help: each system call is short, and they would wait for each other between two of them.
"""

from __future__ import annotations

import marshal
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import IO, TYPE_CHECKING, NamedTuple

from topcoat.errors import TopcoatError
from topcoat.helpers import plain_files
from topcoat.helpers.plain_files import LENGTH, Batch, Result, do

if TYPE_CHECKING:
    import select
    import subprocess

MIN_FILES = 1000
"""For fewer files, a helper takes longer to start than it saves."""

_MAX_HELPERS = 3
_MAX_CHUNK_FILES, _MAX_CHUNK_SIZE = 64, 8 << 20
# While a helper works on one chunk, the next one waits in its pipe.
_MAX_GIVEN = 2
# For chunks of at most 64 MiB.
_MAX_WAIT_S = 300.0

Done = Callable[[int], object]


class HelperPool:
    """Helper processes for a ``with`` block, which end when the block ends. A pool for few files has none."""

    def __init__(self, count: int) -> None:
        """Start as many helpers as pay for *count* files; they are ready a moment later."""
        self._helpers: list[_Helper] = []
        program = plain_files.__file__
        # A frozen or embedding program would start itself again.
        is_python = os.path.basename(sys.executable or "").startswith(("python", "pypy")) and os.path.isfile(program)
        if count >= MIN_FILES and is_python and hasattr(os, "sched_getaffinity"):
            with suppress(OSError):  # too many processes: then there are fewer helpers
                for _ in range(min(len(os.sched_getaffinity(0)) - 1, _MAX_HELPERS)):
                    self._helpers.append(_Helper([sys.executable, "-I", "-S", "-X", "utf8", program]))

    def __enter__(self) -> HelperPool:
        return self

    def __exit__(self, *error: object) -> None:
        for helper in self._helpers:
            helper.end()

    def do_all(self, batches: Iterable[Batch], done: Done | None = None) -> list[tuple[Batch, list[Result]]]:
        """Do *batches* in any order; they are taken when there is time for them.

        Args:
            batches: what to do. A large batch is divided.
            done: called with each number of bytes that has been done.

        Returns:
            The batches as they were done, each with the result of every file.

        Raises:
            TopcoatError: a helper process was killed, or does not answer.
        """
        work = _Work(done)
        for chunk in chunks(batches):
            for helper in self._helpers:
                helper.read(work, 0)
            free = next((helper for helper in self._helpers if helper.is_free), None)
            if free:
                free.give(chunk)
            else:
                work.finish(chunk, [do(batch) for batch in chunk.batches])
        for helper in self._helpers:
            helper.wait(work)
        return work.results


class Background:
    """Batches that helpers do while this process does something else."""

    def __init__(self, pool: HelperPool, batches: Iterable[Batch], chunk_files: int) -> None:
        self._helpers = pool._helpers
        self._chunks = chunks(batches, chunk_files)
        self._work = _Work(None)

    def collect(self) -> list[tuple[Batch, list[Result]]]:
        """Return what has been done since the last call, and give the helpers more to do; do not wait.

        Raises:
            TopcoatError: a helper process was killed.
        """
        for helper in self._helpers:
            helper.read(self._work, 0)
            while helper.is_free and (chunk := next(self._chunks, None)):
                helper.give(chunk)
        done, self._work.results = self._work.results, []
        return done


class Chunk(NamedTuple):
    """Batches that are done in one go, and the bytes of their files."""

    batches: list[Batch]
    size: int


def chunks(batches: Iterable[Batch], max_files: int = _MAX_CHUNK_FILES) -> Iterator[Chunk]:
    """Make chunks of bounded size of *batches*, in their order."""
    chunk: list[Batch] = []
    count = total = 0
    for batch, size in chain.from_iterable(_divided(batch, max_files) for batch in batches):
        files = len(batch[-1])
        if chunk and (count + files > max_files or total + size > _MAX_CHUNK_SIZE):
            yield Chunk(chunk, total)
            chunk, count, total = [], 0, 0
        chunk.append(batch)
        count += files
        total += size
    if chunk:
        yield Chunk(chunk, total)


def _divided(batch: Batch, max_files: int) -> Iterator[tuple[Batch, int]]:
    """Divide a batch that is too large for a chunk; a single file may be. Each part comes with its bytes."""
    how, source, target, shared, files = batch
    size = sum([file[1] for file in files])
    if len(files) > max_files or (size > _MAX_CHUNK_SIZE and len(files) > 1):
        half = len(files) // 2
        for part in (files[:half], files[half:]):
            yield from _divided((how, source, target, shared, part), max_files)
    elif files:
        yield batch, size


class _Work:
    """The results so far."""

    def __init__(self, done: Done | None) -> None:
        self.results: list[tuple[Batch, list[Result]]] = []
        self._done = done

    def finish(self, chunk: Chunk, results: list[list[Result]]) -> None:
        """Keep the results of a chunk."""
        pairs = list(zip(chunk.batches, results, strict=True))
        self.results += pairs
        if self._done:
            failed = [zip(batch[-1], found, strict=True) for batch, found in pairs if None in found]
            self._done(chunk.size - sum([file[1] for file, result in chain(*failed) if result is None]))


class _Helper:
    """A process that does chunks of batches."""

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
        self._given: deque[Chunk] = deque()
        self._answers = b""

    @property
    def is_free(self) -> bool:
        """Tell whether the helper can take a chunk."""
        return self._is_ready and len(self._given) < _MAX_GIVEN

    def give(self, chunk: Chunk) -> None:
        """Let the helper do a chunk."""
        self._given.append(chunk)
        with suppress(BrokenPipeError):  # the next read says that it has ended
            pipe = _pipe(self._process.stdin)
            batches = marshal.dumps(chunk.batches)
            pipe.write(len(batches).to_bytes(LENGTH, "little") + batches)
            pipe.flush()

    def wait(self, work: _Work) -> None:
        """Wait for the answers to all that was given."""
        deadline = time.monotonic() + _MAX_WAIT_S
        while self._given:
            self.read(work, 1000)
            if time.monotonic() > deadline:
                raise TopcoatError("a helper process does not answer", hint="run the command again")

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        with self._process, suppress(BrokenPipeError):
            _pipe(self._process.stdin).close()

    def read(self, work: _Work, timeout_ms: int) -> None:
        """Take the answers that are there, or come within this time."""
        if not self._poll.poll(timeout_ms):
            return
        data = os.read(_pipe(self._process.stdout).fileno(), 1 << 16)
        if not data and self._given:
            raise TopcoatError("a helper process was killed", hint="run the command again; maybe memory ran out")
        self._answers += data
        if data and not self._is_ready:
            self._is_ready, self._answers = True, self._answers[1:]
        while len(self._answers) >= LENGTH:
            end = LENGTH + int.from_bytes(self._answers[:LENGTH], "little")
            if len(self._answers) < end:
                return
            work.finish(self._given.popleft(), marshal.loads(self._answers[LENGTH:end]))
            self._answers = self._answers[end:]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
