"""Run functions side by side in threads that end before their caller goes on.

Our own, because importing ``concurrent.futures`` takes as long as a warm scan of a small workspace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds that ^C waits for all tasks; they are daemon threads, so the process can end without them.
_INTERRUPTED_WAIT_S = 1.0


class Task(Generic[T]):
    """A function that runs in a thread of its own. `TaskScope.start` makes tasks."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._value: T | None = None
        self._error: BaseException | None = None
        # The thread owns the function, and everything that it holds (a packed layer), until it has ended.
        self._thread = threading.Thread(target=self._run, args=(function,), name="topcoat-task", daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], T]) -> None:
        try:
            self._value = function()
        except BaseException as error:
            self._error = error

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the function has returned or raised, at most *timeout* seconds."""
        self._thread.join(timeout)

    @property
    def is_running(self) -> bool:
        """Whether the function has neither returned nor raised yet."""
        return self._thread.is_alive()

    def result(self) -> T:
        """Wait, then return what the function returned or raise what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class TaskScope:
    """A ``with`` block that no task started in it outlives.

    Leaving the block waits for every task. If the block or a task of `start_job` has failed, jobs that have not begun
    are skipped. A task's error is raised by its ``result`` alone.
    """

    def __init__(self, max_jobs: int = 8) -> None:
        """Let at most *max_jobs* jobs run at a time; `start` does not count."""
        self._tasks: list[Task[object]] = []
        self._job_slots = threading.Semaphore(max_jobs)
        self.failed = False

    def __enter__(self) -> TaskScope:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.failed = self.failed or kind is not None
        interrupted = kind is not None and not issubclass(kind, Exception)
        deadline = time.monotonic() + _INTERRUPTED_WAIT_S if interrupted else None
        try:
            for task in self._tasks:
                task.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except BaseException:
            # ^C while this waits: the jobs that have not begun are skipped all the same.
            self.failed = True
            raise

    def start(self, function: Callable[[], T]) -> Task[T]:
        """Run *function* in a thread, at once."""
        task = Task(function)
        self._tasks.append(task)  # type: ignore[arg-type]
        return task

    def start_job(self, function: Callable[[], None], *, cleanup: Callable[[], None] = lambda: None) -> Task[None]:
        """Run *function* in a thread when a slot is free, or skip it if the scope has failed; then run *cleanup*."""

        def job() -> None:
            try:
                with self._job_slots:
                    if not self.failed:
                        try:
                            function()
                        except BaseException:
                            # The slot is not free yet: the job that gets it next must see this.
                            self.failed = True
                            raise
            finally:
                cleanup()

        return self.start(job)


def run_all(functions: Iterable[Callable[[], T]], *, max_at_once: int = 8) -> list[T]:
    """Run *functions* side by side and return their results in order.

    All of them have ended when this returns or raises the first error; none is skipped.
    """
    slots = threading.Semaphore(max_at_once)

    def limited(function: Callable[[], T]) -> Callable[[], T]:
        def run() -> T:
            with slots:
                return function()

        return run

    with TaskScope() as tasks:
        started = [tasks.start(limited(function)) for function in functions]
    return [task.result() for task in started]


def ahead(items: Generator[T, None, None], limit: int) -> Generator[T, None, None]:
    """Return *items*, which a thread makes: at most *limit*, two or more, before they are taken.

    If the iterator is closed before its end, no more are made. An error of *items* is raised after those before it.
    """
    import queue

    waiting: queue.Queue[tuple[T] | None] = queue.Queue(limit)
    stopped = threading.Event()
    failures: list[BaseException] = []

    def make() -> None:
        try:
            with closing(items):
                for item in items:
                    waiting.put((item,))
                    if stopped.is_set():
                        break
        except BaseException as error:
            failures.append(error)
        finally:
            waiting.put(None)

    thread = threading.Thread(target=make, name="topcoat-ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            yield item[0]
        if failures:
            # Kept nowhere else: its traceback holds all that *items* have open.
            raise failures.pop()
    finally:
        stopped.set()
        with suppress(queue.Empty):
            while True:
                waiting.get_nowait()
        thread.join(_INTERRUPTED_WAIT_S)
