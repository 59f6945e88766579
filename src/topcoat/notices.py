"""Tell the user something that is not an error: the only channel for that.

Use it for warnings and for slow work that has begun. Results are returned, errors are raised.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SLOW_S = 5.0
"""Seconds after which a command says what it waits for."""

# `topcoat --help` need not import threading.
_lock = allocate_lock()
_show: Callable[[str], None] | None = None
# The texts that were shown, once for each open scope: all of them are the same set.
_scopes: list[set[str]] = []


def notice(text: str) -> None:
    """Tell the user *text*: with the function set by ``show_notices``, else as a warning of the logger ``topcoat``."""
    with _lock:
        if _scopes:
            if text in _scopes[-1]:
                return
            _scopes[-1].add(text)
    if _show is not None:
        _show(text)
        return
    # Most runs have no notices, and importing logging takes a tenth of their time.
    import logging

    logging.getLogger("topcoat").warning("%s", text)


@contextmanager
def notice_if_slow(text: str, delay: float = SLOW_S) -> Iterator[None]:
    """Tell the user *text* once if a ``with`` block, which waits for somebody, takes longer than *delay* seconds."""
    from threading import Timer

    timer = Timer(delay, notice, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def notices_once() -> Iterator[None]:
    """Show each distinct notice once while a ``with`` block runs, in all threads.

    Scopes that overlap, nested or in several threads, share the texts that were shown: a retry repeats none of them.
    """
    with _lock:
        _scopes.append(_scopes[-1] if _scopes else set())
    try:
        yield
    finally:
        with _lock:
            _scopes.pop()


def show_notices(show: Callable[[str], None] | None) -> Callable[[str], None] | None:
    """Pass notices to *show* from now on, or to the logger for ``None``; return the previous function."""
    global _show
    previous, _show = _show, show
    return previous
