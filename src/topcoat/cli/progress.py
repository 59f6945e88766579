"""Show a spinner on a terminal while something takes long."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from types import TracebackType

from topcoat.foreign_text import printable

DELAY_S = 0.5
"""Seconds before the spinner is shown."""


class Progress:
    """Show *text* and a spinner on stderr while a ``with`` block runs, if stderr is a terminal and it takes long."""

    def __init__(self, text: str, *, quiet: bool = False) -> None:
        self._text = printable(text).replace("\n", " ")
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
        if self._done.wait(DELAY_S):
            return
        from rich.console import Console
        from rich.status import Status
        from rich.text import Text

        with suppress(OSError), Status(Text(f"topcoat: {self._text}"), console=Console(stderr=True)):
            self._done.wait()
