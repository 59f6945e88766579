"""One HTTP/1.1 connection: a request out, its answer in, and then the next.

Our own few lines, because a registry client needs little of HTTP and ``http.client`` brings the whole of ``email``
and ``ssl`` with it: half of the time in which an edit is to be in the registry.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from topcoat.http.response_head import Framing, NotHTTP, ResponseHead, parse_fields, parse_status

if TYPE_CHECKING:
    import socket
    import ssl

_BLOCK = 64 * 1024
_LONGEST_HEAD = 128 * 1024
_LONGEST_CHUNK_LINE = 4 * 1024
_MOST_INTERIM = 16
# 2**60 bytes are more than anybody sends. Compiled when an answer first comes in chunks.
_CHUNK_LINE = rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\0\r]*)?\Z"
_TARGET = re.compile(r"[\x21-\x7e]+\Z")
_VALUE = re.compile(r"[^\0\r\n]*\Z")


class Connection:
    """A connection, and what of an answer was received and not read yet.

    Attributes:
        sock: the socket, plain or TLS.
        answering: whether any byte of the answer to the last request has arrived.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.answering = False
        self._buffer = b""
        self._at = 0

    @classmethod
    def open(cls, host: str, port: int, timeout: float) -> Connection:
        """Connect to *host*, a name or an address.

        Raises:
            OSError: that is not possible within *timeout* seconds for each of its addresses.
        """
        import socket

        # As bytes, a plain name spares the import of the codec for international ones.
        name = host.encode() if host.isascii() else host
        sock = socket.create_connection((name, port), timeout)  # type: ignore[arg-type]
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    def tunnel(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        """Have the proxy at the other end connect us to *host* (RFC 9110 section 9.3.6).

        Raises:
            OSError: the proxy refuses, or breaks off.
            NotHTTP: it is none.
        """
        where = authority(host, port)
        self.send("CONNECT", where, {"Host": where, **headers})
        head = self.receive_head()
        if not 200 <= head.status < 300:
            raise OSError(f"Tunnel connection failed: {head.status} {head.reason}")
        if not self.idle:
            raise NotHTTP("a proxy that speaks where the other end of its tunnel should")

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on in TLS with *host*.

        Raises:
            OSError: the other side does not, or its certificate is not that of *host*.
        """
        self.sock = context.wrap_socket(self.sock, server_hostname=host)

    @property
    def idle(self) -> bool:
        """Whether nothing was received that belongs to no answer."""
        pending = getattr(self.sock, "pending", None)
        return self._at == len(self._buffer) and not (pending and pending())

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send a request up to its body.

        Raises:
            ValueError: something in it would not stay in its place.
            OSError: the connection broke.
        """
        if not _TARGET.match(target) or not method.isalpha():
            raise ValueError(f"{method} {target!r} cannot be a request")
        lines = [f"{method} {target} HTTP/1.1"]
        for name, value in headers.items():
            if not _VALUE.match(value):
                raise ValueError(f"the value of {name} cannot be that of a header")
            lines.append(f"{name}: {value}")
        self.answering = False
        self.sock.sendall("\r\n".join([*lines, "\r\n"]).encode("latin-1"))

    def receive_head(self) -> ResponseHead:
        """Read an answer up to its body; answers that only announce another one (1xx) are skipped.

        Raises:
            OSError: the connection broke.
            NotHTTP: what came is none, or one that was not asked for.
        """
        for _ in range(_MOST_INTERIM):
            # At once, for what is not HTTP may well have no more lines to come.
            head = parse_status(self.line(_LONGEST_HEAD))
            head = head._replace(fields=parse_fields(self.lines(_LONGEST_HEAD)))
            if head.status >= 200:
                return head
            if head.status == 101:
                break
        raise NotHTTP(f"an answer {head.status} that was not asked for")

    def lines(self, limit: int) -> list[bytes]:
        """Read lines, of *limit* bytes together, up to an empty one, which is left out.

        Raises:
            OSError: the connection broke.
            NotHTTP: there are more.
        """
        lines = []
        while line := self.line(limit):
            lines.append(line)
            limit -= len(line)
        return lines

    def line(self, limit: int) -> bytes:
        """Read a line and return it without its end (RFC 9112 section 2.2: a lone LF is one, too).

        Raises:
            OSError: the connection broke.
            NotHTTP: it is longer than *limit* bytes.
        """
        while (end := self._buffer.find(b"\n", self._at)) < 0 and len(self._buffer) - self._at <= limit:
            self._fill()
        if not 0 <= end - self._at <= limit:
            raise NotHTTP("a line without end")
        line, self._at = self._buffer[self._at : end], end + 1
        return line.removesuffix(b"\r")

    def some(self, size: int) -> bytes:
        """Return up to *size* bytes, nothing at the end of the connection."""
        if self._at == len(self._buffer):
            return self.sock.recv(size)
        part = self._buffer[self._at : self._at + size]
        self._at += len(part)
        return part

    def _fill(self) -> None:
        block = self.sock.recv(_BLOCK)
        if not block:
            raise ConnectionResetError("the connection ended within an answer" if self.answering else "no answer came")
        self.answering = True
        self._buffer, self._at = self._buffer[self._at :] + block, 0


class Incoming:
    """The body of an answer, read from its connection.

    Attributes:
        ended: it was read to its end.
        left: bytes until then; None where nobody can tell.
    """

    def __init__(self, connection: Connection, framing: Framing) -> None:
        self._connection = connection
        self._chunked = framing.chunked
        # Bytes left of the chunk at hand; None before the first.
        self._chunk: int | None = None
        self.left = framing.length
        self.ended = framing.length == 0

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, nothing at the end.

        Raises:
            OSError: the connection broke before.
            NotHTTP: what comes is no chunk.
        """
        if self._chunked and not self.ended and not self._chunk:
            self._next_chunk()
        if self.ended or size <= 0:
            return b""
        limit = self._chunk or self.left or size
        part = self._connection.some(min(size, limit))
        if not part:
            if self._chunk or self.left:
                raise ConnectionResetError("the connection ended within a body")
            self.ended = True
        elif self._chunk:
            self._chunk -= len(part)
        elif self.left:
            self.left -= len(part)
            self.ended = not self.left
        return part

    def _next_chunk(self) -> None:
        """Read what stands between two chunks, or after the last one (RFC 9112 section 7.1)."""
        if self._chunk is not None and self._connection.line(_LONGEST_CHUNK_LINE):
            raise NotHTTP("a chunk that is longer than it says")
        line = self._connection.line(_LONGEST_CHUNK_LINE)
        match = re.match(_CHUNK_LINE, line)
        if match is None:
            raise NotHTTP(f"a chunk that begins with {line[:80]!r}")
        self._chunk = int(match[1], 16)
        if not self._chunk:
            # Nobody here asks for the headers that may follow; they have to be headers all the same.
            parse_fields(self._connection.lines(_LONGEST_HEAD))
            self.ended = True

    def drain(self, limit: int) -> None:
        """Read what is left, if that is known to end and no more than *limit* bytes."""
        if self._chunked or (self.left is not None and self.left <= limit):
            while not self.ended and limit:
                limit -= len(self.read(limit))


def authority(host: str, port: int, *, default: int = 0) -> str:
    """Return ``host:port`` as a URL has it; a *default* port goes without saying."""
    name = host if host.isascii() else host.encode("idna").decode()
    name = f"[{name}]" if ":" in name else name
    return name if port == default else f"{name}:{port}"
