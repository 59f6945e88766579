"""Start over when a file of the workspace changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from topcoat.errors import WorkspaceChanged

T = TypeVar("T")

_MAX_ATTEMPTS = 3


def retry_if_changed(attempt: Callable[[], T]) -> T:
    """Return what *attempt* returns; call it again if a file has changed, three times at most.

    Raises:
        WorkspaceChanged: a file has changed during the last attempt too.
    """
    for _ in range(_MAX_ATTEMPTS - 1):
        try:
            return attempt()
        except WorkspaceChanged:
            continue
    return attempt()
