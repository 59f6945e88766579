"""Print results on stdout and messages on stderr. Text of others is escaped, so that it cannot control the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from topcoat.foreign_text import printable

if TYPE_CHECKING:
    from typing import TextIO

    from topcoat.errors import TopcoatError


class _Printed:
    json = False


def result(text: str) -> None:
    """Print *text*, the result or a part of it, on stdout."""
    encoding = sys.stdout.encoding or "utf-8"
    emit(f"{printable(text)}\n".encode(encoding, "backslashreplace"), sys.stdout)


def exact_result(text: str) -> None:
    """Print *text* on stdout: unchanged to a file or pipe, escaped on a terminal."""
    if sys.stdout.isatty():
        text = printable(text)
    emit(text, sys.stdout)


def json_result(value: object) -> None:
    """Print the result as one JSON object on stdout."""
    import json

    _Printed.json = True
    result(json.dumps(value, indent=2, default=str))


def json_error(error: TopcoatError) -> None:
    """Print an error as JSON on stdout, unless a result was printed: there is one object."""
    if not _Printed.json:
        facts = {"class": type(error).__name__, "code": error.code, "message": error.message, "hint": error.hint}
        json_result({"error": facts})


def expect_json() -> None:
    """Forget what an earlier command of this process has printed."""
    _Printed.json = False


def emit(text: str | bytes, stream: TextIO) -> None:
    """Write *text* to *stream* unchanged, and flush.

    Characters are written as UTF-8, whatever the locale: a log has the bytes that its job wrote.

    Raises:
        BrokenPipeError: the reader of a pipe is gone.
        OutputError: another error of the stream.
    """
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    try:
        stream.flush()
        buffer = getattr(stream, "buffer", None)
        if buffer is None:  # a stream of text alone, which replaces sys.stdout
            stream.write(data.decode("utf-8", "backslashreplace"))
        else:
            buffer.write(data)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from topcoat.errors import OutputError

        raise OutputError(f"cannot write the result: {error.strerror}") from error


def say(text: str, *, hint: str = "") -> None:
    """Print a message on stderr, ``topcoat:`` before each line, then a *hint*."""
    lines = [f"topcoat: {line}\n" for line in printable(text).rstrip("\n").split("\n")]
    write_stderr("".join([*lines, f"  hint: {hint}\n" if hint else ""]))


def write_stderr(text: str) -> None:
    """Write *text*, escaped, to stderr; do nothing if its terminal or the reader of its pipe is gone."""
    try:
        # One write: another thread may print logs, and print() writes the newline separately.
        sys.stderr.write(printable(text))
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Redirect *stream* to nowhere, because the interpreter flushes it at its end."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)


def table(rows: Iterable[Sequence[str]]) -> str:
    """Return *rows* as text in aligned columns; a cell is one line."""
    lines = [tuple(printable(cell).replace("\n", "\\x0a").replace("\t", "\\x09") for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def colors(stream: object) -> bool:
    """Tell whether *stream* is a terminal that wants colors (https://no-color.org)."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
