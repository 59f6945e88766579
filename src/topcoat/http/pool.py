"""Kept-alive HTTP/1.1 connections to one origin, shared by threads.

An edit has to be in the registry a seventh of a second after the interpreter started, and an HTTP library takes a
good part of that to import. Even ``socket`` is imported when the first connection is made, and ``ssl`` when the first
one in TLS is.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from topcoat.errors import InvalidImage
from topcoat.http.connection import Connection, Incoming, authority
from topcoat.http.proxy import proxy_for
from topcoat.http.response_head import NotHTTP, ResponseHead

if TYPE_CHECKING:
    from topcoat.registry.hosts import HostConfig

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 120.0
# A registry may copy a blob to its object store before it answers: a second for every MiB on top.
_COMMIT_BYTES_PER_SECOND = 2**20
_DEFAULT_PORTS = {"http": 80, "https": 443}
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
        self, pool: Pool, connection: Connection, head: ResponseHead, body: Incoming, url: str, *, keep: bool
    ) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._head = head
        self._body = body
        self._keep = keep
        self.url = url
        self.status = head.status
        if body.ended:
            self._release()

    def header(self, name: str) -> str:
        """Return a header's value, the first of several, empty where it is missing."""
        return (self._head.all(name) or [""])[0]

    def headers(self, name: str) -> list[str]:
        """Return every value of a header that may come several times."""
        return self._head.all(name)

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes of the body, nothing at its end.

        Raises:
            OSError: the connection broke first.
            NotHTTP: what comes is not the body that the headers announced.
        """
        try:
            data = self._body.read(size)
        except BaseException:
            self._release(keep=False)
            raise
        if self._body.ended:
            self._release()
        return data

    def read_all(self, limit: int) -> bytes:
        """Return the body, or its first *limit* bytes, and let the connection go.

        Raises:
            OSError, NotHTTP: as `read`.
        """
        parts = []
        try:
            while limit > 0 and (part := self.read(min(limit, self._body.left or _BLOCK))):
                parts.append(part)
                limit -= len(part)
            return b"".join(parts)
        finally:
            self.close()

    def close(self) -> None:
        """Let the connection go: back to the pool where little or nothing of the body is left, closed otherwise."""
        if self._connection is None:
            return
        # The body is not wanted, nor is what happens to it.
        with contextlib.suppress(OSError, NotHTTP):
            self._body.drain(_SMALL)
        self._release(keep=self._body.ended)

    def _release(self, *, keep: bool = True) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if keep and self._keep:
            self._pool.give_back(connection)
        else:
            connection.close()


class Pool:
    """The connections to one origin; at most eight of them are kept while idle."""

    def __init__(self, origin: Origin, host: HostConfig) -> None:
        self._origin = origin
        self._host = host
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._proxy = proxy_for(*origin)
        self._authority = authority(origin.host, origin.port, default=_DEFAULT_PORTS.get(origin.scheme, 0))
        self._closed = False

    def exchange(self, request: Request) -> Response:
        """Send a request and return the answer as soon as its headers are there.

        A connection that had been kept and breaks before the first byte of an answer was stale: the request
        goes out once more on a new one.

        Raises:
            OSError: no connection, or none that lasted until the answer.
            NotHTTP: what answered was none of HTTP/1.1.
        """
        connection = self._take()
        if connection is not None:
            try:
                return self._once(connection, request)
            except OSError as error:
                if isinstance(error, TimeoutError) or connection.answering:
                    raise
        return self._once(self._connect(), request)

    def give_back(self, connection: Connection) -> None:
        """Keep *connection* for the next request, if it is still open and there is room."""
        with self._lock:
            if connection.idle and len(self._idle) < _KEPT and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they come back."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _take(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not _readable(connection):
                return connection
            # Data or an end of file where nothing was asked for: the other side has hung up.
            connection.close()

    def _connect(self) -> Connection:
        scheme, host, port = self._origin
        at, at_port = (self._proxy.host, self._proxy.port) if self._proxy else (host, port)
        connection = Connection.open(at, at_port, CONNECT_SECONDS)
        if scheme == "https":
            from topcoat.http.tls import context

            try:
                if self._proxy:
                    connection.tunnel(host, port, self._proxy.headers)
                connection.start_tls(context(self._host), host)
            except BaseException:
                connection.close()
                raise
        return connection

    def _once(self, connection: Connection, request: Request) -> Response:
        method, body = request.method, request.body
        size = body.size if body is not None else 0
        target = request.target
        headers = {"Host": self._authority, "Accept-Encoding": "identity", **request.headers}
        if self._proxy is not None and self._origin.scheme == "http":
            target = request.url
            headers.update(self._proxy.headers)
        if method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(size)
        try:
            connection.sock.settimeout(ANSWER_SECONDS + size / _COMMIT_BYTES_PER_SECOND)
            connection.send(method, target, headers)
            refused = False
            if body is not None:
                try:
                    body.send(connection.sock.sendall)
                except (BrokenPipeError, ConnectionResetError):
                    # The registry may have refused the body before its end (401, 413): its answer says why.
                    refused = True
            head = connection.receive_head()
            if refused and head.status < 400:
                raise ConnectionResetError("the body was not read to its end")
            framing = head.framing(method)
            keep = head.persists and framing.delimited and not refused
            return Response(self, connection, head, Incoming(connection, framing), request.url, keep=keep)
        except BaseException:
            connection.close()
            raise


def _readable(connection: Connection) -> bool:
    sock = connection.sock
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
