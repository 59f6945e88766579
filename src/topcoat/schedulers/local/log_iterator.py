"""The log of a local replica as an iterator (TorchX's ``LogIterator``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from topcoat.schedulers.api import Scheduler
from topcoat.schedulers.logs import follow
from topcoat.specs import is_terminal


class LogIterator:
    """Return the pieces of *log_file*; with *should_tail*, until the application *app_id* of *scheduler* has ended."""

    def __init__(self, app_id: str, log_file: str, scheduler: Scheduler[Any], should_tail: bool = True) -> None:
        def has_ended() -> bool:
            response = scheduler.describe(app_id)
            return response is None or is_terminal(response.state)

        self._pieces = iter(follow(log_file, done=has_ended if should_tail else None))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)
