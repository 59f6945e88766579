"""The head of an HTTP/1.1 response, parsed strictly: ambiguous responses are refused.

The head decides where the next response on the connection begins, so duplicate or conflicting lengths are errors.
Source: RFC 9112, sections 4, 5 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from topcoat.http.errors import NotHTTP

MAX_FIELDS = 256

_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([^\0\r]*))?\Z")
_FIELD_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r]*)\Z")
_LENGTH = re.compile(r"[0-9]{1,18}\Z")
_MAX_SHOWN = 80


class Framing(NamedTuple):
    """Where a body ends.

    Attributes:
        length: in bytes; None if the body is chunked or ends with the connection.
        chunked: whether it has the chunked coding.
    """

    length: int | None
    chunked: bool = False

    @property
    def delimited(self) -> bool:
        """Whether the body ends before the connection does."""
        return self.chunked or self.length is not None


class ResponseHead(NamedTuple):
    """Status and headers of a response.

    Attributes:
        minor: y of ``HTTP/1.y``.
        status: the three-digit code.
        reason: the text after the code.
        fields: all values of each header, by its name in lower case.
    """

    minor: int
    status: int
    reason: str
    fields: dict[str, list[str]]

    def all(self, name: str) -> list[str]:
        """Return all values of a header."""
        return self.fields.get(name.lower(), [])

    @property
    def persists(self) -> bool:
        """Whether the connection can be reused after the body."""
        options = _members(self.all("connection"))
        return "close" not in options and (self.minor > 0 or "keep-alive" in options)

    def framing(self, method: str) -> Framing:
        """Return where the body of this response to a *method* request ends (RFC 9112 section 6.3).

        Raises:
            NotHTTP: the length is ambiguous, malformed or in an unsupported coding.
        """
        if method == "HEAD" or self.status in (204, 304):
            return Framing(0)
        lengths, codings = _members(self.all("content-length")), _members(self.all("transfer-encoding"))
        if codings:
            if codings != ["chunked"] or lengths or self.minor == 0:
                headers = f"Transfer-Encoding {_quoted(codings)} and Content-Length {_quoted(lengths)}"
                raise NotHTTP(f"unsupported {headers} in HTTP/1.{self.minor}")
            return Framing(None, chunked=True)
        if "content-length" not in self.fields:
            return Framing(None)
        # Some proxies merge two equal headers into a list.
        if len(set(lengths)) != 1 or not _LENGTH.match(lengths[0]):
            raise NotHTTP(f"invalid Content-Length {_quoted(lengths)}")
        return Framing(int(lengths[0]))


def parse_status(line: bytes) -> ResponseHead:
    """Parse a status line; the result has no headers yet.

    Raises:
        NotHTTP: not an HTTP/1.x status line.
    """
    match = _STATUS_LINE.match(line.decode("latin-1"))
    if match is None:
        raise NotHTTP(f"invalid status line {line[:_MAX_SHOWN]!r}")
    return ResponseHead(int(match[1]), int(match[2]), (match[3] or "").strip(" \t"), {})


def parse_fields(lines: Sequence[bytes]) -> dict[str, list[str]]:
    """Parse header lines into all values of each header, by its name in lower case.

    Raises:
        NotHTTP: a line is malformed or folded (RFC 9112 section 5.2), or there are more than ``MAX_FIELDS``.
    """
    if len(lines) > MAX_FIELDS:
        raise NotHTTP(f"more than {MAX_FIELDS} headers")
    fields: dict[str, list[str]] = {}
    for line in lines:
        match = _FIELD_LINE.match(line.decode("latin-1"))
        if match is None:
            # The value may hold a credential.
            name, colon, _ = line.partition(b":")
            raise NotHTTP(f"invalid header line {name[:_MAX_SHOWN]!r}{' (value not shown)' if colon else ''}")
        fields.setdefault(match[1].lower(), []).append(match[2].rstrip(" \t"))
    return fields


def parse_count(text: str) -> int | None:
    """Return the number in a header such as ``Content-Length``, None for anything else or more than 18 digits."""
    return int(text) if _LENGTH.match(text) else None


def _members(values: Sequence[str]) -> list[str]:
    """Return the members of comma-separated lists, in lower case; empty members count."""
    return [member.strip(" \t").lower() for value in values for member in value.split(",")]


def _quoted(members: Sequence[str]) -> str:
    return repr(", ".join(members))[:_MAX_SHOWN]
