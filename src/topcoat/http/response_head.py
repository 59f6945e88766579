"""The head of an HTTP/1.1 answer, read strictly: what two readers could understand in two ways is refused.

What follows the head decides where the next answer on the connection begins, so a length that is written twice, or
stated in two ways, is no length at all. Source: RFC 9112, sections 4, 5 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MOST_FIELDS = 256

_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([^\0\r]*))?\Z")
_FIELD_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r]*)\Z")
# More digits than any length needs.
_LENGTH = re.compile(r"[0-9]{1,18}\Z")
_SHOWN = 80


class NotHTTP(Exception):
    """What arrived is not an answer in HTTP/1.1, or not one that is safe to read."""


class Framing(NamedTuple):
    """Where a body ends.

    Attributes:
        length: its bytes; None where its chunks say so, or the end of the connection.
        chunked: whether it comes in chunks.
    """

    length: int | None
    chunked: bool = False

    @property
    def delimited(self) -> bool:
        """Whether it ends before the connection does."""
        return self.chunked or self.length is not None


class ResponseHead(NamedTuple):
    """Status and headers of an answer.

    Attributes:
        minor: y of ``HTTP/1.y``.
        status: of three digits.
        reason: the words after it.
        fields: every value of each header, by its name in lower case.
    """

    minor: int
    status: int
    reason: str
    fields: dict[str, list[str]]

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return self.fields.get(name.lower(), [])

    @property
    def persists(self) -> bool:
        """Whether the connection may be used again once the body was read."""
        options = _list(self.all("connection"))
        return "close" not in options and (self.minor > 0 or "keep-alive" in options)

    def framing(self, method: str) -> Framing:
        """Return where the body of this answer to a *method* request ends (RFC 9112 section 6.3).

        Raises:
            NotHTTP: it is stated in more than one way, or in none that is known.
        """
        if method == "HEAD" or self.status in (204, 304):
            return Framing(0)
        lengths, codings = _list(self.all("content-length")), _list(self.all("transfer-encoding"))
        if codings:
            if codings != ["chunked"] or lengths or self.minor == 0:
                stated = f"Transfer-Encoding {_shown(codings)} and Content-Length {_shown(lengths)}"
                raise NotHTTP(f"an answer with {stated} in HTTP/1.{self.minor}")
            return Framing(None, chunked=True)
        if "content-length" not in self.fields:
            return Framing(None)
        # The same length over and over is what some proxies make of two headers.
        if len(set(lengths)) != 1 or not _LENGTH.match(lengths[0]):
            raise NotHTTP(f"an answer with Content-Length {_shown(lengths)}")
        return Framing(int(lengths[0]))


def parse_status(line: bytes) -> ResponseHead:
    """Read a status line; the headers are still to come.

    Raises:
        NotHTTP: it is none.
    """
    match = _STATUS_LINE.match(line.decode("latin-1"))
    if match is None:
        raise NotHTTP(f"an answer that begins with {line[:_SHOWN]!r}")
    return ResponseHead(int(match[1]), int(match[2]), (match[3] or "").strip(" \t"), {})


def parse_fields(lines: Sequence[bytes]) -> dict[str, list[str]]:
    """Read header lines: every value by the header's name in lower case.

    Raises:
        NotHTTP: one is malformed, folded over two lines (RFC 9112 section 5.2), or there are too many.
    """
    if len(lines) > MOST_FIELDS:
        raise NotHTTP(f"an answer with more than {MOST_FIELDS} headers")
    fields: dict[str, list[str]] = {}
    for line in lines:
        match = _FIELD_LINE.match(line.decode("latin-1"))
        if match is None:
            raise NotHTTP(f"a header that reads {line[:_SHOWN]!r}")
        fields.setdefault(match[1].lower(), []).append(match[2].rstrip(" \t"))
    return fields


def _list(values: Sequence[str]) -> list[str]:
    """Return the members of comma-separated lists, in lower case; what is empty stays, for it may matter."""
    return [member.strip(" \t").lower() for value in values for member in value.split(",")]


def _shown(members: Sequence[str]) -> str:
    return repr(", ".join(members))[:_SHOWN]
