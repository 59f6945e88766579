"""Wait for what another process or thread does: as long as a busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], what: str = "it never came true", timeout: float = 60.0) -> None:
    """Wait until *condition* holds; fail with *what* after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
