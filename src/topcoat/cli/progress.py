"""Say that something is being done, on a terminal, once it takes longer than a moment."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

DELAY = 0.5
"""Seconds after which a user begins to wonder."""


class Progress:
    """Show *text* and a spinner on stderr while a ``with`` block runs; nothing where nobody watches, or it is quick."""

    def __init__(self, text: str, *, quiet: bool = False) -> None:
        self._text = text
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        if not quiet and sys.stderr.isatty():
            self._thread = threading.Thread(target=self._show, args=(sys.stderr,), daemon=True)

    def __enter__(self) -> Progress:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _show(self, stream: object) -> None:
        if self._done.wait(DELAY):
            return
        from rich.console import Console
        from rich.status import Status

        with Status(f"topcoat: {self._text}", console=Console(stderr=True)):
            self._done.wait()
