"""Run functions side by side in threads.

A few lines of our own, because ``concurrent.futures`` costs as much start-up time as a warm scan of a small workspace.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Generic, TypeVar

T = TypeVar("T")


class Task(Generic[T]):
    """A function that runs in a thread of its own from the moment the task is made."""

    def __init__(self, function: Callable[[], T], *, limit: threading.Semaphore | None = None) -> None:
        self._value: T | None = None
        self._error: BaseException | None = None
        # The thread holds the function, and with it whatever that holds (a packed layer), until it has ended.
        self._thread = threading.Thread(target=self._run, args=(function, limit), name="topcoat-task", daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], T], limit: threading.Semaphore | None) -> None:
        try:
            with limit or nullcontext():
                self._value = function()
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Wait until the function has returned or raised."""
        self._thread.join()

    def result(self) -> T:
        """Wait, and return what the function returned or raise what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


def run_all(functions: Iterable[Callable[[], T]], *, at_once: int = 8) -> list[T]:
    """Run *functions* side by side, and return their results in order.

    All of them have ended when this returns or raises the first failure.
    """
    limit = threading.Semaphore(at_once)
    tasks = [Task(function, limit=limit) for function in functions]
    for task in tasks:
        task.wait()
    return [task.result() for task in tasks]
