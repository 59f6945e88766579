"""The time index of a log file: when which byte was written.

A list of fixed-size entries in a file beside the log. The supervisor of local jobs loads this: standard library only.
"""

from __future__ import annotations

import os
from struct import Struct

from topcoat.regular_files import open_regular

ENTRY = Struct(">dQ")
"""An entry: seconds since 1970, and the first byte that was written then."""
STEP_S = 0.05
"""Seconds of output that share one entry."""


def index_path(log: str) -> str:
    """Return the path of the time index of *log*."""
    directory, name = os.path.split(log)
    return os.path.join(directory, f".{name}.times")


def first_byte_after(log: str, moment: float) -> int | None:
    """Return the first byte of *log* written after *moment* (seconds since 1970), ``None`` without one."""
    try:
        with open_regular(index_path(log)) as file:
            index = file.read()
    except OSError:
        return None
    # The last entry may be half written.
    complete = len(index) - len(index) % ENTRY.size
    return next((offset for written, offset in ENTRY.iter_unpack(index[:complete]) if written > moment), None)
