"""Limits on slow transfers: a peer that sends or takes a byte now and then would otherwise never time out."""

from __future__ import annotations

from collections.abc import Callable

from topcoat.http.errors import TooSlow

MIN_BYTES_PER_SECOND = 1000
WINDOW_S = 60.0
NOTICE_AFTER_S = 5.0
"""Waiting that takes longer is announced."""

# A document (a manifest, a token, a config) has this time, and one second more for so many bytes.
DOCUMENT_TIMEOUT_S = 60.0
_DOCUMENT_BYTES_PER_SECOND = 100_000


def document_seconds(size: int) -> float:
    """Return how long a document of *size* bytes may take."""
    return DOCUMENT_TIMEOUT_S + size / _DOCUMENT_BYTES_PER_SECOND


class TransferRate:
    """Counts the bytes, and the time that was spent waiting for them: time in which nothing is transferred is free."""

    def __init__(self, on_slow: Callable[[], None] = lambda: None) -> None:
        """Count from now; *on_slow* is called when a slow transfer has taken ``NOTICE_AFTER_S``."""
        self._on_slow = on_slow
        self.reset()

    def reset(self) -> None:
        """Begin a transfer."""
        self._bytes, self._seconds = 0, 0.0

    def add(self, size: int, seconds: float) -> None:
        """Count *size* bytes that took *seconds*.

        Raises:
            TooSlow: the last minute of waiting moved less than `MIN_BYTES_PER_SECOND`.
        """
        self._bytes += size
        self._seconds += seconds
        if self._seconds < NOTICE_AFTER_S:
            return
        is_slow = self._bytes < self._seconds * MIN_BYTES_PER_SECOND
        if is_slow:
            self._on_slow()
        if self._seconds < WINDOW_S:
            return
        if is_slow:
            raise TooSlow(f"slower than {MIN_BYTES_PER_SECOND} bytes/s: {self._bytes} bytes in {self._seconds:.0f} s")
        self.reset()
