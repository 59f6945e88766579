"""Scans that begin before they are needed, while something else is waited for, such as a login node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from topcoat.tasks import Task

_begun: dict[Any, Task[Any]] = {}


def begin(key: Any, scan: Callable[[], Any]) -> None:
    """Begin the *scan* with this *key* in a thread of its own, unless it has begun."""
    if key not in _begun:
        _begun[key] = Task(scan)


def finished(key: Any) -> Any:
    """Wait for the scan that has begun with this *key*, and return it or raise its error; None if none has begun."""
    task = _begun.pop(key, None)
    return task.result() if task else None
