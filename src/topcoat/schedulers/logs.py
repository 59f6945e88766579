"""Read logs: split into lines, filter, follow files that are still being written."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import BinaryIO

from topcoat.errors import StateError, UsageError
from topcoat.regular_files import open_regular
from topcoat.schedulers import time_index

_POLL_S = 0.05
_MAX_READ = 1 << 16
_MAX_PIECE = 1 << 20
_MAX_LINE = 1 << 26
_ENDS = (("\n", "\r"), ("\n",))
MAX_ERROR_FILE = 1 << 16
"""Bytes of an error file that are shown."""
_decode_errors = "replace"


@contextmanager
def undecodable_bytes_kept() -> Iterator[None]:
    """Return bytes that are not UTF-8 as ``surrogateescape`` does while a ``with`` block runs."""
    global _decode_errors  # noqa: PLW0603
    previous, _decode_errors = _decode_errors, "surrogateescape"
    try:
        yield
    finally:
        _decode_errors = previous


def split_lines(text: str) -> list[str]:
    """Split *text* after each newline, and nowhere else; the newlines are kept."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def split_lines_iterator(chunks: Iterable[str]) -> Iterable[str]:
    """Split each chunk on its own, as ``split_lines`` does."""
    for chunk in chunks:
        yield from split_lines(chunk)


def filter_regex(regex: str, data: Iterable[str]) -> Iterable[str]:
    """Return the lines of *data* that match *regex* somewhere. Raise ``UsageError`` for an invalid *regex*."""
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise UsageError(f"invalid regular expression {regex!r}: {error}") from error
    return filter(pattern.search, data)


def follow(
    path: str,
    *,
    regex: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    done: Callable[[], bool] | None = None,
) -> Iterable[str]:
    """Return the lines of the log *path*, newlines kept, undecodable bytes replaced.

    With *done*, follow the file, like ``tail -f``, until *done* returns true: nothing more will be written. A progress
    bar or a prompt is then yielded before its newline comes, unless a *regex* has to see the whole line. *since* and
    *until* are looked up in the log's time index; a naive time is local time. A missing file counts as empty.
    """
    pieces = decode(_chunks(path, since, until, done), whole=regex is not None)
    return pieces if regex is None else filter_regex(regex, pieces)


def decode(chunks: Iterable[bytes], *, whole: bool = False) -> Iterator[str]:
    """Yield the text of *chunks* in pieces that end with a newline or a carriage return.

    An empty chunk means that nothing was written for a while: then an unfinished line is yielded too. With *whole*,
    yield whole lines only, up to the newline. The last piece may lack its end. A line that is longer than
    `_MAX_PIECE` characters, or `_MAX_LINE` with *whole*, is yielded in pieces of about that size.
    """
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")(_decode_errors)
    ends = r"(?<=\n)" if whole else r"(?<=\n)|(?<=\r)(?!\n)"
    limit = _MAX_LINE if whole else _MAX_PIECE
    # The unfinished line in parts: joining them with each chunk would take quadratic time.
    line: list[str] = []
    length = 0
    carriage_return = ""
    for chunk in chunks:
        text, carriage_return = carriage_return + decoder.decode(chunk), ""
        if chunk and not whole and text.endswith("\r"):
            # The second half of "\r\n" may be still to come.
            text, carriage_return = text[:-1], "\r"
        for piece in re.split(ends, text):
            line.append(piece)
            length += len(piece)
            if piece.endswith(_ENDS[whole]) or length >= limit:
                yield "".join(line)
                line, length = [], 0
        if not chunk and not whole and length:
            yield "".join(line)
            line, length = [], 0
    line.append(carriage_return + decoder.decode(b"", final=True))
    yield from filter(None, re.split(ends, "".join(line)))


def error_text(data: bytes) -> str:
    """Return the text of an error file that begins with *data*, cut to `MAX_ERROR_FILE` bytes."""
    text = data[:MAX_ERROR_FILE].decode(errors="replace").strip()
    return f"{text}... (the error file is longer than {MAX_ERROR_FILE} bytes)" if len(data) > MAX_ERROR_FILE else text


def _chunks(
    path: str, since: datetime | None, until: datetime | None, done: Callable[[], bool] | None
) -> Iterator[bytes]:
    """Yield the content of the file; while it is followed, an empty chunk whenever it has not grown."""
    stop = None if until is None else until.timestamp()
    offset = 0 if since is None else _offset(path, since.timestamp() - time_index.STEP_S)
    while True:
        # Call done first, then read: what was written before the end must not be missed.
        last = done is None or done() or (stop is not None and time.time() > stop)
        end = _size(path) if stop is None else _offset(path, stop)
        quiet = offset >= end
        if not quiet:
            with _open_log(path) as file:
                file.seek(offset)
                while offset < end and (data := file.read(min(_MAX_READ, end - offset))):
                    offset += len(data)
                    yield data
        if last:
            return
        if quiet:
            yield b""
            time.sleep(_POLL_S)


def _open_log(path: str) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as error:
        raise StateError(f"cannot read the log {path}: {error.strerror or error}", hint=f"ls -l {path}") from error


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _offset(path: str, moment: float) -> int:
    """Return the first byte of *path* that was written after *moment*, its size if there is none."""
    size = _size(path)
    offset = time_index.first_byte_after(path, moment)
    return size if offset is None else offset
