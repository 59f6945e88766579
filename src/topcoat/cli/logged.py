"""Show the warnings that topcoat's modules log. This imports logging; for commands in a hurry there is ``notices``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from topcoat.cli.output import say


class _Sayer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Show on stderr what the logger ``topcoat`` and those below it get, while a ``with`` block runs."""
    handler, logger = _Sayer(logging.WARNING), logging.getLogger("topcoat")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
