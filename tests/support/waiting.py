"""Wait for what another process or thread does: as long as a busy machine may need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def eventually(condition: Callable[[], object], what: str = "it never came true", timeout: float = 60.0) -> None:
    """Wait until *condition* holds; fail with *what* after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@contextmanager
def made_when(path: Path, condition: Callable[[], object]) -> Iterator[None]:
    """Make the file *path* once *condition* holds, while a ``with`` block runs."""

    def make() -> None:
        eventually(condition)
        path.touch()

    maker = threading.Thread(target=make)
    maker.start()
    yield
    maker.join()
