"""Read logs: split into lines, filter, follow files that are still being written."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from topcoat.errors import UsageError
from topcoat.schedulers.local.output_pump import TIME, TIME_STEP, times_path

POLL = 0.05
"""Seconds between two looks at a file that has not grown."""
_CHUNK = 1 << 16


def split_lines(text: str) -> list[str]:
    """Split *text* after each newline, and nowhere else; the newlines are kept."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def split_lines_iterator(chunks: Iterable[str]) -> Iterable[str]:
    """Split each chunk on its own, as ``split_lines`` does."""
    for chunk in chunks:
        yield from split_lines(chunk)


def filter_regex(regex: str, data: Iterable[str]) -> Iterable[str]:
    """Return those of *data* in which *regex* is found. Raise ``UsageError`` if it is no regular expression."""
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise UsageError(f"{regex!r} is not a regular expression: {error}") from error
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

    With *done*, follow the file, like ``tail -f``, until *done* says that nothing more will be written, and
    yield a progress bar or a prompt before its newline comes, unless a *regex* has to see the whole line.
    *since* and *until* cut by the log's time index (``tee``); a naive time is local time. A file that does
    not exist is empty.
    """
    pieces = decode(_chunks(path, since, until, done), whole=regex is not None)
    return pieces if regex is None else filter_regex(regex, pieces)


def decode(chunks: Iterable[bytes], *, whole: bool = False) -> Iterator[str]:
    """Yield the text of *chunks* in pieces that end with a newline or a carriage return.

    An empty chunk says that nothing has come for a while: then what there is of a line is yielded too, unless
    only *whole* lines, up to the newline, are wanted. The last piece may lack its end.
    """
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    ends = r"(?<=\n)" if whole else r"(?<=\n)|(?<=\r)(?!\n)"
    rest = ""
    for chunk in chunks:
        *pieces, rest = re.split(ends, rest + decoder.decode(chunk))
        if chunk and pieces and not rest and pieces[-1].endswith("\r"):
            # The second half of "\r\n" may be still to come.
            rest = pieces.pop()
        yield from pieces
        if not chunk and not whole and rest:
            yield rest
            rest = ""
    rest += decoder.decode(b"", final=True)
    yield from filter(None, re.split(ends, rest))


def _chunks(
    path: str, since: datetime | None, until: datetime | None, done: Callable[[], bool] | None
) -> Iterator[bytes]:
    """Yield what the file holds; while it is followed, an empty chunk whenever it has not grown."""
    stop = None if until is None else until.timestamp()
    offset = 0 if since is None else _offset(path, since.timestamp() - TIME_STEP)
    while True:
        # What was written before the end was seen must still be read: so ask first, then read.
        last = done is None or done() or (stop is not None and time.time() > stop)
        end = _size(path) if stop is None else _offset(path, stop)
        quiet = offset >= end
        if not quiet:
            with open(path, "rb") as file:
                file.seek(offset)
                while offset < end and (data := file.read(min(_CHUNK, end - offset))):
                    offset += len(data)
                    yield data
        if last:
            return
        if quiet:
            yield b""
            time.sleep(POLL)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _offset(path: str, moment: float) -> int:
    """Return the first byte of *path* that was written after *moment*, its size if there is none."""
    size = _size(path)
    try:
        with open(times_path(path), "rb") as file:
            index = file.read()
    except FileNotFoundError:
        return size
    whole = len(index) - len(index) % TIME.size
    return next((offset for written, offset in TIME.iter_unpack(index[:whole]) if written > moment), size)
