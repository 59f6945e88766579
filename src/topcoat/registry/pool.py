"""Kept-alive HTTP/1.1 connections to one origin, shared by threads.

Built on the standard library's ``http.client``: an edit has to be in the registry a sixth of a second after the
interpreter started, and a full HTTP library takes half of that to import. Even ``http.client`` and ``ssl`` are
imported when the first connection is made, so that a run without network pays for neither.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from topcoat.errors import InvalidImage
from topcoat.registry.proxy import proxy_for

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

    from topcoat.registry.hosts import Host

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 120.0
# A registry may copy a blob to its object store before it answers: a second for every MiB on top.
_COMMIT_BYTES_PER_SECOND = 2**20
_KEPT = 8
_BLOCK = 2**20
_SMALL = 64 * 1024


class Origin(NamedTuple):
    """What credentials are bound to: scheme, host and port."""

    scheme: str
    host: str
    port: int


class Source(Protocol):
    """What a body can be read from: a seekable binary file, or something as good."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes, nothing at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset from the start (0) or the end (2), and return where that is."""

    def tell(self) -> int:
        """Return the offset that the next read starts from."""


class Body:
    """A request body that can be sent again: bytes, or a file from where it stood."""

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
        """Give the whole body to *write*, in big blocks.

        Raises:
            InvalidImage: the file has become shorter.
        """
        at = 0
        while at < self.size:
            block = self.part(at, self.size if self._file is None else min(_BLOCK, self.size - at))
            if not block:
                raise InvalidImage(f"what is being uploaded ended after {at} of {self.size} bytes")
            write(block)
            at += len(block)


class Request(NamedTuple):
    """A request as it goes out; ``Content-Length`` is added."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Body | None = None

    @property
    def target(self) -> str:
        """Path and query, as they stand in the request line."""
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class Response:
    """An answer whose body is read on demand; its connection goes back to the pool when that is done."""

    def __init__(
        self, pool: Pool, connection: HTTPConnection, raw: HTTPResponse, url: str, *, keep: bool = True
    ) -> None:
        self._pool = pool
        self._connection: HTTPConnection | None = connection
        self._raw = raw
        self._keep = keep
        self.url = url
        self.status = raw.status

    def header(self, name: str) -> str:
        """Return a header's value, empty where it is missing."""
        return self._raw.headers.get(name) or ""

    def headers(self, name: str) -> list[str]:
        """Return every value of a header that may come several times."""
        return self._raw.headers.get_all(name) or []

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes of the body, nothing at its end.

        Raises:
            OSError, http.client.HTTPException: the connection broke first.
        """
        data = self._raw.read(size)
        if self._raw.isclosed():
            if not data and self._raw.length:
                # http.client does not tell a body that broke off from one that ended.
                import http.client

                self._release(keep=False)
                raise http.client.IncompleteRead(b"", self._raw.length)
            self._release(keep=True)
        return data

    def read_all(self, limit: int) -> bytes:
        """Return the body, or its first *limit* bytes, and let the connection go.

        Raises:
            OSError, http.client.HTTPException: the connection broke first.
        """
        parts = []
        try:
            while limit > 0 and (part := self.read(min(limit, self._raw.length or _BLOCK))):
                parts.append(part)
                limit -= len(part)
            return b"".join(parts)
        finally:
            self.close()

    def close(self) -> None:
        """Let the connection go: back to the pool where little or nothing of the body is left, closed otherwise."""
        left = self._raw.length
        if not self._raw.isclosed() and left is not None and left <= _SMALL:
            try:
                self._raw.read()
            except Exception as error:
                # The body is not wanted, nor is what happened to it.
                self._keep = False
                if not isinstance(error, OSError) and type(error).__module__ != "http.client":
                    raise
        self._release(keep=self._raw.isclosed())

    def _release(self, *, keep: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if keep and self._keep:
            self._pool.give_back(connection)
        else:
            connection.close()


class Pool:
    """The connections to one origin; at most eight of them are kept while idle."""

    def __init__(self, origin: Origin, host: Host) -> None:
        self._origin = origin
        self._host = host
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        self._proxy = proxy_for(*origin)
        self._closed = False

    def exchange(self, request: Request) -> Response:
        """Send a request and return the answer as soon as its headers are there.

        A connection that had been kept and breaks before the first byte of an answer was stale: the request
        goes out once more on a new one.

        Raises:
            OSError, http.client.HTTPException: no connection, or none that lasted until the answer.
        """
        connection = self._take()
        if connection is not None:
            try:
                return self._once(connection, request)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise
        return self._once(self._connect(), request)

    def give_back(self, connection: HTTPConnection) -> None:
        """Keep *connection* for the next request, if it is still open and there is room."""
        with self._lock:
            if connection.sock is not None and len(self._idle) < _KEPT and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they come back."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _take(self) -> HTTPConnection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not _readable(connection):
                return connection
            # Data or an end of file where nothing was asked for: the other side has hung up.
            connection.close()

    def _connect(self) -> HTTPConnection:
        import http.client

        scheme, host, port = self._origin
        at, at_port = (self._proxy.host, self._proxy.port) if self._proxy else (host, port)
        if scheme == "http":
            connection = http.client.HTTPConnection(at, at_port, timeout=CONNECT_SECONDS)
        else:
            from topcoat.registry.tls import context

            connection = http.client.HTTPSConnection(at, at_port, timeout=CONNECT_SECONDS, context=context(self._host))
            if self._proxy:
                connection.set_tunnel(host, port, self._proxy.headers)
        # http.client turns Nagle's algorithm off.
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _once(self, connection: HTTPConnection, request: Request) -> Response:
        body = request.body
        size = body.size if body is not None else 0
        target, headers = request.target, request.headers
        if self._proxy is not None and self._origin.scheme == "http":
            target, headers = request.url, {**headers, **self._proxy.headers}
        try:
            connection.sock.settimeout(ANSWER_SECONDS + size / _COMMIT_BYTES_PER_SECOND)
            connection.putrequest(request.method, target)
            for name, value in headers.items():
                connection.putheader(name, value)
            if request.method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(size))
            connection.endheaders()
            refused = False
            if body is not None:
                try:
                    body.send(connection.send)
                except (BrokenPipeError, ConnectionResetError):
                    # The registry may have refused the body before its end (401, 413): its answer says why.
                    refused = True
            raw = connection.getresponse()
            if refused and raw.status < 400:
                raise ConnectionResetError("the body was not read to its end")
            return Response(self, connection, raw, request.url, keep=not refused)
        except BaseException:
            connection.close()
            raise


def _readable(connection: HTTPConnection) -> bool:
    sock = connection.sock
    if sock is None:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
