"""One HTTP/1.1 connection: send a request, read its response, repeat.

Why not ``http.client``: it takes longer to import than a warm edit can spare (``benchmarks/http_layer.py``), and it
accepts responses that this module refuses as ambiguous.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from topcoat.foreign_text import escaped
from topcoat.http.connect import connect
from topcoat.http.errors import InvalidSettings, NotHTTP, ProxyRefused, TLSTimeout
from topcoat.http.origin import authority
from topcoat.http.rate import NOTICE_AFTER_S, TransferRate
from topcoat.http.response_head import Framing, ResponseHead, parse_fields, parse_status
from topcoat.notices import notice

if TYPE_CHECKING:
    import socket
    import ssl

T = TypeVar("T")

_BLOCK = 64 * 1024
_MAX_HEAD = 128 * 1024
_MAX_CHUNK_LINE = 4 * 1024
_MAX_INTERIM_RESPONSES = 16
# Fifteen digits: 2**60 bytes. Compiled at the first chunked response.
_CHUNK_LINE = rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\0\r]*)?\Z"
_TARGET = re.compile(r"[\x21-\x7e]+\Z")
_VALUE = re.compile(r"[^\0\r\n]*\Z")


class Connection:
    """A connection and the bytes received on it that are not read yet.

    Attributes:
        sock: the socket, plain or TLS.
        peer: the host that is named if it is slow.
        response_started: whether any byte of the response to the last request has arrived.
        deadline: a time of ``time.monotonic`` at which receiving ends; None for none besides the socket's timeout.
    """

    def __init__(self, sock: socket.socket, peer: str = "") -> None:
        self.sock = sock
        self.peer = peer
        self.response_started = False
        self.deadline: float | None = None
        self._buffer = b""
        self._position = 0
        self._rate = TransferRate(self._announce)
        # Until a response begins, the server may take its time.
        self._waiting = False

    @classmethod
    def open(
        cls, host: str, port: int, timeout: float, check_address: Callable[[str], None] = lambda address: None
    ) -> Connection:
        """Connect to *host*; arguments and errors as in `connect`."""
        import socket

        sock = connect(host, port, timeout, check_address)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock, host)

    def tunnel(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        """Ask the proxy at the other end to connect to *host* (RFC 9110 section 9.3.6).

        Raises:
            OSError: the proxy disconnects; ProxyRefused if it refuses.
            NotHTTP: the proxy's response is invalid.
        """
        target = authority(host, port)
        self.send("CONNECT", target, {"Host": target, **headers})
        head = self.receive_head()
        if head.status >= 300:
            raise ProxyRefused(f"{head.status} {escaped(head.reason, 80)}", status=head.status)
        if self.has_unread_data:
            raise NotHTTP("unexpected data after the proxy's response to CONNECT")

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Switch to TLS with *host*.

        Raises:
            OSError: the handshake fails (TLSTimeout if it does not end), or the certificate is not valid for *host*.
            InvalidSettings: no certificate can be valid for *host*.
        """
        try:
            self.sock = tls = context.wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
            self._wait_for(tls.do_handshake)
        except TimeoutError as error:
            raise TLSTimeout("the TLS handshake timed out") from error
        except OSError:  # that of a certificate is a ValueError too
            raise
        except ValueError as error:
            raise InvalidSettings(f"invalid host name {host!r:.100}", "check the spelling of the host") from error

    @property
    def has_unread_data(self) -> bool:
        """Whether bytes were received that no response has consumed."""
        pending = getattr(self.sock, "pending", None)
        return self._position < len(self._buffer) or bool(pending and pending())

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send the head of a request.

        Raises:
            ValueError: a character of the arguments would break the request's framing.
            OSError: the connection broke.
        """
        if not _TARGET.match(target) or not method.isalpha():
            raise ValueError(f"invalid request line: {method} {target!r}")
        lines = [f"{method} {target} HTTP/1.1"]
        for name, value in headers.items():
            if not _VALUE.match(value):
                raise ValueError(f"invalid value of the header {name}")
            lines.append(f"{name}: {value}")
        self.response_started, self.deadline = False, None
        self.sock.sendall("\r\n".join([*lines, "\r\n"]).encode("latin-1"))
        self._rate.reset()

    def send_body(self, data: bytes) -> None:
        """Send a part of a request's body.

        Raises:
            OSError: the connection broke; TooSlow if the peer takes less than the minimum rate.
        """
        view = memoryview(data)
        while view:
            start = time.monotonic()
            sent = self._wait_for(lambda part=view: self.sock.send(part))  # type: ignore[misc]
            self._rate.add(sent, time.monotonic() - start)
            view = view[sent:]

    def receive_head(self) -> ResponseHead:
        """Read the head of a response within the socket's timeout; interim responses (1xx) are skipped.

        Raises:
            OSError: the connection broke.
            NotHTTP: the head is invalid, or switches protocols.
        """
        timeout = self.sock.gettimeout()
        self.deadline = None if timeout is None else time.monotonic() + timeout
        for _ in range(_MAX_INTERIM_RESPONSES):
            self._waiting = True
            self._rate.reset()
            # The status line is checked first: a server of another protocol may send nothing after its first line.
            head = parse_status(self.read_line(_MAX_HEAD))
            head = head._replace(fields=parse_fields(self.read_lines(_MAX_HEAD)))
            if head.status >= 200:
                self.deadline = None
                return head
            if head.status == 101:
                break
        raise NotHTTP(f"unexpected status {head.status}")

    def read_lines(self, limit: int, *, crlf_only: bool = False) -> list[bytes]:
        """Read lines, *limit* bytes in total, up to an empty one, which is dropped; raise as `read_line`."""
        lines = []
        while line := self.read_line(limit, crlf_only=crlf_only):
            lines.append(line)
            limit -= len(line)
        return lines

    def read_line(self, limit: int, *, crlf_only: bool = False) -> bytes:
        """Read a line and return it without its end: CRLF, or also a bare LF (RFC 9112 section 2.2).

        Raises:
            OSError: the connection broke.
            NotHTTP: the line is longer than *limit* bytes, or ends in a bare LF despite *crlf_only*.
        """
        while (end := self._buffer.find(b"\n", self._position)) < 0 and len(self._buffer) - self._position <= limit:
            self._fill()
        if not 0 <= end - self._position <= limit:
            raise NotHTTP(f"a line is longer than {limit} bytes")
        line, self._position = self._buffer[self._position : end], end + 1
        if crlf_only and not line.endswith(b"\r"):
            raise NotHTTP("a line ends in a bare LF")
        return line.removesuffix(b"\r")

    def read_some(self, size: int) -> bytes:
        """Return 1 to *size* bytes, nothing at the end of the connection."""
        if self._position == len(self._buffer):
            return self._receive(size)
        part = self._buffer[self._position : self._position + size]
        self._position += len(part)
        return part

    def _fill(self) -> None:
        block = self._receive(_BLOCK)
        if not block:
            raise ConnectionResetError("incomplete response" if self.response_started else "no response")
        self.response_started = True
        self._buffer, self._position = self._buffer[self._position :] + block, 0

    def _receive(self, size: int) -> bytes:
        start = time.monotonic()
        block = self._wait_for(lambda: self.sock.recv(size))
        if block and not self._waiting:
            self._rate.add(len(block), time.monotonic() - start)
        self._waiting = False
        return block

    def _wait_for(self, operation: Callable[[], T]) -> T:
        """Return the result of an *operation* on the socket; say what is waited for if it takes long.

        Raises:
            OSError: the operation failed, or timed out, by the deadline or by the socket's timeout.
        """
        timeout = left = self.sock.gettimeout()
        if self.deadline is not None:
            left = min(left or sys.maxsize, self.deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError("timed out")
        if left is None:
            return operation()
        try:
            if left > NOTICE_AFTER_S:
                self.sock.settimeout(NOTICE_AFTER_S)
                with contextlib.suppress(TimeoutError):
                    return operation()
                self._announce()
                left -= NOTICE_AFTER_S
            self.sock.settimeout(left)
            return operation()
        finally:
            self.sock.settimeout(timeout)

    def _announce(self) -> None:
        notice(f"waiting for {self.peer}")


class ResponseBody:
    """The body of a response, read from its connection.

    Attributes:
        ended: whether it was read to its end.
        remaining: bytes up to the end; None if the length is unknown.
    """

    def __init__(self, connection: Connection, framing: Framing) -> None:
        self._connection = connection
        self._chunked = framing.chunked
        # Bytes left in the current chunk; None before the first.
        self._chunk: int | None = None
        self.remaining = framing.length
        self.ended = framing.length == 0

    def read(self, size: int) -> bytes:
        """Return 1 to *size* bytes, nothing at the end.

        Raises:
            OSError: the connection broke before the end.
            NotHTTP: the chunked framing is invalid.
        """
        if self._chunked and not self.ended and not self._chunk:
            self._next_chunk()
        if self.ended or size <= 0:
            return b""
        limit = self._chunk or self.remaining or size
        part = self._connection.read_some(min(size, limit))
        if not part:
            if self._chunk or self.remaining:
                raise ConnectionResetError("incomplete response body")
            self.ended = True
        elif self._chunk:
            self._chunk -= len(part)
        elif self.remaining:
            self.remaining -= len(part)
            self.ended = not self.remaining
        return part

    def _next_chunk(self) -> None:
        """Read the framing between two chunks, or after the last (RFC 9112 section 7.1): lines end in CRLF only."""
        if self._chunk is not None and self._connection.read_line(_MAX_CHUNK_LINE, crlf_only=True):
            raise NotHTTP("a chunk is longer than its size")
        line = self._connection.read_line(_MAX_CHUNK_LINE, crlf_only=True)
        match = re.match(_CHUNK_LINE, line)
        if match is None:
            raise NotHTTP(f"invalid chunk size {line[:80]!r}")
        self._chunk = int(match[1], 16)
        if not self._chunk:
            # The trailers are not used, but must be valid.
            parse_fields(self._connection.read_lines(_MAX_HEAD, crlf_only=True))
            self.ended = True

    def drain(self, limit: int) -> None:
        """Read up to *limit* bytes to reach the end; do nothing if that cannot be enough."""
        if self._chunked or (self.remaining is not None and self.remaining <= limit):
            while not self.ended and limit:
                limit -= len(self.read(limit))
