"""The minimum rate of a transfer: a peer that sends or takes a byte now and then would otherwise never time out."""

from __future__ import annotations

from topcoat.http.errors import TooSlow

MIN_BYTES_PER_SECOND = 1000
WINDOW_S = 60.0


class TransferRate:
    """Counts the bytes, and the time that was spent waiting for them: time in which nothing is transferred is free."""

    def __init__(self) -> None:
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
        if self._seconds < WINDOW_S:
            return
        if self._bytes < self._seconds * MIN_BYTES_PER_SECOND:
            raise TooSlow(f"slower than {MIN_BYTES_PER_SECOND} bytes/s: {self._bytes} bytes in {self._seconds:.0f} s")
        self.reset()
