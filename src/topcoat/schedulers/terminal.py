"""Connect this process's standard streams to a process elsewhere. POSIX only."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from topcoat.errors import UsageError

PIECE = 1 << 16
END_OF_INPUT = b"\x04"
"""What a terminal sends for ^D."""


def check_one_replica(count: int) -> None:
    """Refuse ``run -i`` for a job with several replicas."""
    if count != 1:
        raise UsageError(
            f"run -i needs a job with one replica, and this one has {count}",
            hint="topcoat run without -i; topcoat exec opens a shell in one of its replicas",
        )


def terminal_size() -> tuple[int, int]:
    """Return columns and lines of the terminal itself, not of ``COLUMNS``; 80 and 24 without a terminal."""
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            return os.get_terminal_size(descriptor)
    return 80, 24


@contextmanager
def raw_terminal(on_resize: Callable[[int, int], object]) -> Iterator[None]:
    """Pass every key on, also ^C, while the block runs; *on_resize* gets columns and lines, at once and on changes."""
    import termios
    import tty

    def resize(*_: object) -> None:
        with suppress(OSError):
            on_resize(*terminal_size())

    descriptor = _stdin()
    is_terminal = descriptor is not None and os.isatty(descriptor)
    before = termios.tcgetattr(descriptor) if is_terminal and descriptor is not None else None
    previous = signal.signal(signal.SIGWINCH, resize)
    try:
        resize()
        if before is not None and descriptor is not None:
            tty.setraw(descriptor, termios.TCSADRAIN)  # what has been typed already is kept
        yield
    finally:
        signal.signal(signal.SIGWINCH, previous)
        if before is not None and descriptor is not None:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def relay(
    output: int,
    write: Callable[[bytes], None],
    on_output: Callable[[bytes], None],
    end_input: Callable[[], None],
) -> None:
    """Copy stdin to *write* and what *output* gives to *on_output*, until *output* ends.

    Args:
        output: a descriptor to read from.
        write: sends input.
        on_output: gets output, never empty.
        end_input: is called once when stdin ends.
    """
    stdin = _stdin()
    while True:
        ready, _, _ = select.select([output, *([] if stdin is None else [stdin])], [], [])
        if output in ready:
            try:
                data = os.read(output, PIECE)
            except OSError:  # EIO: no process has the other side of the terminal open
                data = b""
            if not data:
                return
            on_output(data)
        if stdin in ready and stdin is not None:
            typed = os.read(stdin, PIECE)
            if typed:
                with suppress(OSError):
                    write(typed)
            else:
                stdin = None
                with suppress(OSError):
                    end_input()


def _stdin() -> int | None:
    try:
        return sys.stdin.fileno()
    except (OSError, ValueError, AttributeError):
        return None
