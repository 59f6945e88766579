"""Print results on stdout and messages on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


def result(text: str) -> None:
    """Print *text*, the result or a part of it, on stdout."""
    emit(f"{text}\n", sys.stdout)


def json_result(value: object) -> None:
    """Print the result as one JSON object on stdout."""
    import json

    result(json.dumps(value, indent=2, default=str))


def emit(text: str | bytes, stream: TextIO) -> None:
    """Write *text* to *stream* unchanged, and flush.

    Raises:
        BrokenPipeError: the reader of a pipe is gone.
        TopcoatError: another error of the stream.
    """
    try:
        if isinstance(text, bytes):
            stream.flush()
            stream.buffer.write(text)
        else:
            stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from topcoat.errors import TopcoatError

        raise TopcoatError(f"cannot write the result: {error.strerror}") from error


def say(text: str) -> None:
    """Print a message on stderr, ``topcoat:`` before each line."""
    # One write: another thread may print logs, and print() writes the newline separately.
    sys.stderr.write("".join([f"topcoat: {line}\n" for line in text.splitlines()]))
    sys.stderr.flush()


def table(rows: Iterable[Sequence[str]]) -> str:
    """Return *rows* as text in aligned columns."""
    lines = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def colors(stream: object) -> bool:
    """Tell whether *stream* is a terminal that wants colors (https://no-color.org)."""
    import os

    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
