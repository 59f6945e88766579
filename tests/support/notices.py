"""What the user would be told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from topcoat.notices import show_notices


@contextmanager
def collected_notices() -> Iterator[list[str]]:
    """Return a list that gets every notice of the ``with`` block."""
    notices: list[str] = []
    previous = show_notices(notices.append)
    try:
        yield notices
    finally:
        show_notices(previous)
