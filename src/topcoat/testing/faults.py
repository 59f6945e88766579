"""Faults of a registry, or of the network before it, at the n-th request: for `FakeRegistry` and `FaultProxy`.

::

    with FakeRegistry() as registry:
        registry.faults.inject("html", at=3)
        ...  # the third request from now on gets a page of HTML
"""

from __future__ import annotations

import threading
from typing import NamedTuple

FAULTS = {
    "reset-before": "the connection is reset; the request is not handled",
    "reset-after": "the request is handled, and the connection is reset in place of the response",
    "lost-response": "the request is handled, and no response comes",
    "refuse": "the connection is reset, and new ones are refused until the faults are ended",
    "401": "status 401 with a challenge for Basic authentication; the request is not handled",
    "403": "status 403; the request is not handled",
    "404": "status 404; the request is not handled",
    "429": "status 429 with Retry-After; the request is not handled",
    "500": "status 500; the request is not handled",
    "503": "status 503; the request is not handled",
    "html": "status 200 with a page of HTML, as from the login page of a network; the request is not handled",
    "empty": "status 200 without body or further headers; the request is not handled",
    "redirect": "a redirect to another host, which has a page of HTML for every request",
    "truncate": "the request is handled; the connection ends in the middle of the response",
    "drip": "the request is handled; the response comes byte by byte",
    "wrong-digest": "the request is handled; the response names another digest, and its body is damaged",
    "wrong-location": "the request is handled; the response has a Location at which there is nothing",
}
"""Description of each fault."""


class Injection(NamedTuple):
    """A fault that awaits its requests: the first one, counted as `Faults` does, and how many there are."""

    fault: str
    first: int
    times: int


class Faults:
    """Counts requests, and tells which of them get a fault. Threads may share it.

    Attributes:
        count: requests since the last `clear`.
        injected: how many faults were given out since then.
    """

    def __init__(self) -> None:
        self.count = 0
        self.injected = 0
        self._injections: list[Injection] = []
        self._lock = threading.Lock()

    def inject(self, fault: str, *, at: int = 1, times: int = 1) -> None:
        """Give *fault* to *times* requests, from the *at*-th on; the next request is the first.

        Raises:
            ValueError: there is no such fault.
        """
        if fault not in FAULTS:
            raise ValueError(f"invalid fault {fault!r}: choose from {', '.join(FAULTS)}")
        with self._lock:
            self._injections.append(Injection(fault, self.count + at, times))

    def clear(self) -> None:
        """Forget all faults, and count from zero."""
        with self._lock:
            self._injections.clear()
            self.count = self.injected = 0

    def take(self) -> str:
        """Count a request and return its fault, empty for none."""
        with self._lock:
            self.count += 1
            for injection in self._injections:
                if injection.first <= self.count < injection.first + injection.times:
                    self.injected += 1
                    return injection.fault
        return ""
