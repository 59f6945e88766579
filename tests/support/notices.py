"""Record what topcoat tells the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from topcoat.notices import show_notices


@contextmanager
def recorded_notices() -> Iterator[list[str]]:
    """Return the list that notices are added to while a ``with`` block runs."""
    texts: list[str] = []
    before = show_notices(texts.append)
    try:
        yield texts
    finally:
        show_notices(before)
