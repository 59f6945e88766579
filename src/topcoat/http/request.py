"""Requests, and bodies that can be sent more than once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from topcoat.http.errors import BodyTooShort
from topcoat.transfers import advance

_BLOCK = 2**20


class Source(Protocol):
    """A seekable binary file, as far as a body needs it."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes, nothing at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset from the start (0) or the end (2), and return the new position."""

    def tell(self) -> int:
        """Return the position of the next read."""


class Body:
    """A request body that can be sent again: bytes, or a file from its current position."""

    __slots__ = ("_data", "_file", "_start", "size")

    def __init__(self, source: bytes | Source) -> None:
        self._data, self._file, self._start = b"", None, 0
        if isinstance(source, bytes):
            self._data, self.size = source, len(source)
        else:
            self._file, self._start = source, source.tell()
            self.size = source.seek(0, os.SEEK_END) - self._start

    def part(self, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset*, fewer at the end."""
        if self._file is None:
            return self._data[offset : offset + size]
        self._file.seek(self._start + offset)
        return self._file.read(size)

    def send(self, write: Callable[[bytes], None]) -> None:
        """Pass the whole body to *write*, in blocks of 1 MiB if it is a file.

        Raises:
            BodyTooShort: the file has become shorter.
        """
        offset = 0
        while offset < self.size:
            block = self.part(offset, self.size if self._file is None else min(_BLOCK, self.size - offset))
            if not block:
                raise BodyTooShort(f"the uploaded file ended after {offset} of {self.size} bytes")
            write(block)
            advance("pushing", len(block))
            offset += len(block)


class Request(NamedTuple):
    """A request; ``Host`` and ``Content-Length`` are added when it is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Body | None = None

    @property
    def target(self) -> str:
        """Path and query, as in the request line."""
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
