"""Wait while Slurm, or the login node, does not respond: a controller restarts, a network fails for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from topcoat.errors import SchedulerError
from topcoat.notices import notice

_T = TypeVar("_T")
_MAX_FAILING_S = 300.0
_NOTICE_AFTER_S = 5.0
_PAUSE_S = 2.0


def outlast(ask: Callable[[], _T]) -> _T:
    """Return what *ask* returns, once it raises no ``SchedulerError`` any more.

    Raises:
        SchedulerError: it failed for five minutes.
    """
    patience = _Patience()
    while True:
        try:
            return ask()
        except SchedulerError as error:
            patience.bear(error)
        time.sleep(_PAUSE_S)


def patient(has_ended: Callable[[], bool]) -> Callable[[], bool]:
    """Return *has_ended*, which is now false while it fails, for five minutes."""
    patience = _Patience()

    def ask() -> bool:
        nonlocal patience
        try:
            result = has_ended()
        except SchedulerError as error:
            patience.bear(error)
            return False
        patience = _Patience()
        return result

    return ask


class _Patience:
    """Bears failures that follow each other."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._has_told = False

    def bear(self, error: SchedulerError) -> None:
        """Raise *error* if failures have lasted too long."""
        self._since = time.monotonic() if self._since is None else self._since
        lasted = time.monotonic() - self._since
        if lasted > _MAX_FAILING_S:
            raise error
        if lasted > _NOTICE_AFTER_S and not self._has_told:
            self._has_told = True
            notice(f"{error}; trying again for {_MAX_FAILING_S / 60:.0f} minutes")
