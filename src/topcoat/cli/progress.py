"""Show that something takes long, and how far its transfers are: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from topcoat.cli.output import say
from topcoat.foreign_text import printable
from topcoat.transfers import Transfer, forget_transfers, transfers

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

DELAY_S = 0.5
"""Seconds before the bar is shown."""
LINE_INTERVAL_S = 10.0
"""Seconds between the lines where no bar is shown."""
_REFRESH_S = 0.1


class Progress:
    """Show *text* and the transfers on stderr while a ``with`` block runs, if it takes long."""

    def __init__(self, text: str, *, quiet: bool = False) -> None:
        self._text = printable(text).replace("\n", " ")
        self._done = threading.Event()
        show = self._show_bars if shows_bars() else self._print_lines
        self._thread = None if quiet else threading.Thread(target=show, daemon=True)

    def __enter__(self) -> Progress:
        forget_transfers()
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _show_bars(self) -> None:
        if self._done.wait(DELAY_S):
            return
        from rich.console import Console, Group
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.text import Text

        console = Console(stderr=True)
        bars = _bars(console)
        spinner = Spinner("dots", Text(f"topcoat: {self._text}"))
        with suppress(OSError), Live(Group(spinner, bars), console=console, transient=True):
            while not self._done.wait(_REFRESH_S):
                tasks = {task.description: task.id for task in bars.tasks}
                for action, done, total in transfers():
                    if action not in tasks:
                        tasks[action] = bars.add_task(action)
                    bars.update(tasks[action], completed=done, total=total)

    def _print_lines(self) -> None:
        start = time.monotonic()
        last: list[Transfer] = []
        while not self._done.wait(LINE_INTERVAL_S):
            now = transfers()
            for transfer in now:
                if transfer not in last:
                    say(_line(transfer, time.monotonic() - start))
            last = now


def shows_bars() -> bool:
    """Tell whether stderr is a terminal for a person, who wants more than plain lines."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("CI") or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not plain


def _bars(console: object) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}"),
        BarColumn(20),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console if isinstance(console, Console) else None,
    )


def _line(transfer: Transfer, seconds: float) -> str:
    from topcoat.cli.sizes import human_duration, human_size

    rate = transfer.done / max(seconds, 0.001)
    parts = [f"{transfer.action} {human_size(transfer.done)} of {human_size(transfer.total)}"]
    parts += [f"{human_size(int(rate))}/s"] if transfer.done else []
    left = transfer.total - transfer.done
    parts += [f"{human_duration(left / rate)} left"] if left and rate else []
    return ", ".join(parts)
