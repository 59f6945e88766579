"""Read the logs of a replica: its own files, and for the first one what Slurm itself printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from topcoat.schedulers.logs import decode
from topcoat.schedulers.slurm.patience import outlast
from topcoat.schedulers.slurm.site import Site

Read = Callable[[str, int], bytes]
"""Returns a part of the file at a path, from an offset on."""

_MIN_POLL_S = 0.1
_MAX_POLL_S = 2.0
_MAX_READ = 1 << 20
_MAX_PIECE = 1 << 20
_MAX_LINE = 1 << 26


def follow(site: Site, paths: Sequence[str], *, whole: bool, has_ended: Callable[[], bool] | None) -> Iterator[str]:
    """Return the lines of several files together, in the order in which they are read, newlines kept.

    A carriage return ends a line too, unless *whole*. A line that is very long comes in parts.

    Args:
        site: where the files are.
        paths: the files; a missing one counts as empty.
        whole: return whole lines only.
        has_ended: continue until it returns true: nothing more will be written. Meanwhile, the connection may be lost
            for some minutes. ``None``: until the end of the files.
    """

    def read(path: str, offset: int) -> bytes:
        piece = partial(_read, site, path, offset)
        return piece() if has_ended is None else outlast(piece)

    if len(paths) == 1:
        yield from decode(_chunks(read, paths[0], has_ended), whole=whole)
        return
    files = [_Lines(read, path, whole=whole) for path in paths]
    pause = _MIN_POLL_S
    while True:
        # Asked first, then read: what was written before the end must not be missed.
        is_last = has_ended is None or has_ended()
        has_grown = is_cut = False
        for file in files:
            for number, line in enumerate(file.read(is_last=is_last)):
                if is_last and is_cut and number == 0:
                    # The last line of another file.
                    yield "\n"
                has_grown, is_cut = True, not line.endswith(("\n", "\r"))
                yield line
        if is_last:
            return
        pause = _MIN_POLL_S if has_grown else min(pause * 1.5, _MAX_POLL_S)
        if not has_grown:
            time.sleep(pause)


class _Lines:
    """The complete lines of a file that grows: those of several files must not mix."""

    def __init__(self, read: Read, path: str, *, whole: bool) -> None:
        self._read, self._path, self._whole, self._offset, self._rest = read, path, whole, 0, b""

    def read(self, *, is_last: bool) -> Iterable[str]:
        while data := self._read(self._path, self._offset):
            self._offset += len(data)
            data = self._rest + data
            end = self._complete(data)
            self._rest = data[end:]
            yield from decode([data[:end]], whole=self._whole)
        if is_last and self._rest:
            yield from decode([self._rest], whole=self._whole)

    def _complete(self, data: bytes) -> int:
        """Return the length of the complete lines, or of nearly everything if the unfinished one is too long."""
        # A carriage return at the end may be half of a newline.
        end = max(data.rfind(b"\n"), -1 if self._whole else data.rfind(b"\r", 0, -1)) + 1
        if len(data) - end <= (_MAX_LINE if self._whole else _MAX_PIECE):
            return end
        # The last character may be incomplete: its bytes after the first one begin with the bits 10.
        return len(data) - next((count for count in range(1, 5) if data[-count] & 0xC0 != 0x80), 1)


def _chunks(read: Read, path: str, has_ended: Callable[[], bool] | None) -> Iterator[bytes]:
    offset, pause = 0, _MIN_POLL_S
    while True:
        is_last = has_ended is None or has_ended()
        before = offset
        while data := read(path, offset):
            offset += len(data)
            yield data
        if is_last:
            return
        pause = _MIN_POLL_S if offset > before else min(pause * 1.5, _MAX_POLL_S)
        if offset == before:
            # An unfinished line is shown.
            yield b""
            time.sleep(pause)


def _read(site: Site, path: str, offset: int) -> bytes:
    try:
        return site.read_file(path, offset, _MAX_READ)
    except FileNotFoundError:
        return b""
