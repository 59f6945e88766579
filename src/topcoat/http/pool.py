"""Kept-alive HTTP/1.1 connections to one origin, shared by threads.

A warm edit takes about a tenth of a second, interpreter start included, so imports matter: ``socket`` is imported
with the first connection, ``ssl`` with the first TLS connection.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable

from topcoat.foreign_text import escaped
from topcoat.http.connection import Connection, ResponseBody
from topcoat.http.errors import NotHTTP, ProxyRefused, TooSlow
from topcoat.http.origin import Origin
from topcoat.http.proxy import Proxy, proxy_for
from topcoat.http.rate import document_seconds
from topcoat.http.request import Request
from topcoat.http.response_head import ResponseHead
from topcoat.http.tls import TLSSettings, tls_context

CONNECT_TIMEOUT_S = 15.0
RESPONSE_TIMEOUT_S = 120.0
# A registry may copy a blob to its object store before it responds: one more second for every MiB.
_COMMIT_BYTES_PER_SECOND = 2**20
_MAX_IDLE = 8
_BLOCK = 2**20
_MAX_DRAINED = 64 * 1024
# A connection that needs longer to become usable again is closed.
_DRAIN_TIMEOUT_S = 1.0


class Response:
    """A response whose body is read on demand; at its end the connection returns to the pool.

    Attributes:
        url: that was requested last.
        status: the three-digit code.
        left_origin: whether it comes from another origin than the request was for, after a redirect.
    """

    def __init__(
        self, pool: Pool, connection: Connection, head: ResponseHead, body: ResponseBody, url: str, *, reusable: bool
    ) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._head = head
        self._body = body
        self._reusable = reusable
        self.url = url
        self.status = head.status
        self.left_origin = False
        if body.ended:
            self._release()

    def header(self, name: str) -> str:
        """Return the first value of a header, an empty string if it is missing."""
        return (self._head.all(name) or [""])[0]

    def headers(self, name: str) -> list[str]:
        """Return all values of a header."""
        return self._head.all(name)

    def read(self, size: int) -> bytes:
        """Return 1 to *size* bytes of the body, nothing at its end.

        Raises:
            OSError: the connection broke before the end.
            NotHTTP: the body's framing is invalid.
        """
        try:
            data = self._body.read(size)
        except BaseException:
            self._release(reusable=False)
            raise
        if self._body.ended:
            self._release()
        return data

    def read_all(self, limit: int, seconds: float | None = None) -> bytes:
        """Return the body, or its first *limit* bytes, and close the response.

        Raises:
            OSError: as `read`; TooSlow if it takes more than *seconds* (by default what `document_seconds` gives).
            NotHTTP: as `read`.
        """
        parts, received, start, deadline = [], 0, time.monotonic(), 0.0
        try:
            while received < limit:
                deadline = start + (document_seconds(received) if seconds is None else seconds)
                if self._connection is not None:
                    self._connection.deadline = deadline
                part = self.read(min(limit - received, self._body.remaining or _BLOCK))
                if not part:
                    break
                parts.append(part)
                received += len(part)
            return b"".join(parts)
        except TimeoutError as error:
            if time.monotonic() < deadline:
                raise
            raise TooSlow(f"slower than allowed: {received} bytes in {time.monotonic() - start:.0f} s") from error
        finally:
            self.close()

    def close(self) -> None:
        """Return the connection to the pool if little of the body is left, else close it."""
        if self._connection is None:
            return
        self._connection.deadline = time.monotonic() + _DRAIN_TIMEOUT_S
        # The rest of the body is not wanted, so errors in it do not matter.
        with contextlib.suppress(OSError, NotHTTP):
            self._body.drain(_MAX_DRAINED)
        self._release(reusable=self._body.ended)

    def _release(self, *, reusable: bool = True) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if reusable and self._reusable:
            self._pool.give_back(connection)
        else:
            connection.close()


class Pool:
    """The connections to one origin; at most eight idle ones are kept.

    Attributes:
        address: of the origin at the last connection; empty before the first and behind a proxy.
    """

    def __init__(
        self,
        origin: Origin,
        tls: TLSSettings,
        *,
        check_address: Callable[[str], None] = lambda address: None,
        tls_timeout: float = CONNECT_TIMEOUT_S,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            origin: to connect to.
            tls: settings for https.
            check_address: gets each resolved address of the origin and raises to refuse it; not behind a proxy.
            tls_timeout: seconds for the TLS handshake.

        Raises:
            InvalidSettings: the proxy variable is invalid.
        """
        self._origin = origin
        self._tls = tls
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._proxy = proxy_for(origin)
        self._check_address = check_address
        self._tls_timeout = tls_timeout
        self._closed = False
        self.address = ""

    def exchange(self, request: Request) -> Response:
        """Send a request and return the response as soon as its head has arrived.

        If an idle connection breaks before the first byte of the response, it was stale: the request is sent once
        more on a new connection.

        Raises:
            OSError: no connection, or it broke before the response; ProxyRefused if that is the proxy's fault.
            NotHTTP: the response is invalid.
            InvalidSettings: a certificate file cannot be loaded.
            BodyTooShort: the body's file has become shorter.
        """
        connection = self._take_idle()
        if connection is not None:
            try:
                return self._send(connection, request)
            except OSError as error:
                if isinstance(error, TimeoutError) or connection.response_started:
                    raise
        return self._send(self._connect(), request)

    def give_back(self, connection: Connection) -> None:
        """Keep *connection* for the next request if the pool is open and has room, else close it."""
        with self._lock:
            if not connection.has_unread_data and len(self._idle) < _MAX_IDLE and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are given back."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _take_idle(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not _is_readable(connection):
                return connection
            # Readable without a request: the server has closed it.
            connection.close()

    def _connect(self) -> Connection:
        scheme, host, port = self._origin
        if self._proxy:
            connection = self._connect_to_proxy(self._proxy)
        else:
            connection = Connection.open(host, port, CONNECT_TIMEOUT_S, self._check_address)
        connection.peer = self._origin.authority
        address = ""
        with contextlib.suppress(OSError):  # it may be cut already
            address = "" if self._proxy else str(connection.sock.getpeername()[0])
        if scheme == "https":
            try:
                connection.sock.settimeout(self._tls_timeout)
                connection.start_tls(tls_context(self._tls), host)
            except BaseException:
                connection.close()
                raise
        self.address = address
        return connection

    def _connect_to_proxy(self, proxy: Proxy) -> Connection:
        scheme, host, port = self._origin
        connection = None
        try:
            connection = Connection.open(proxy.host, proxy.port, CONNECT_TIMEOUT_S)
            if scheme == "https":
                connection.tunnel(host, port, proxy.headers)
            return connection
        except BaseException as error:
            if connection:
                connection.close()
            if isinstance(error, ProxyRefused):
                error.proxy = str(proxy)
            elif isinstance(error, (OSError, NotHTTP)):
                raise ProxyRefused("no connection", proxy=str(proxy)) from error
            raise

    def _send(self, connection: Connection, request: Request) -> Response:
        method, body = request.method, request.body
        size = body.size if body is not None else 0
        target = request.target
        headers = {"Host": self._origin.authority, "Accept-Encoding": "identity", **request.headers}
        if self._proxy is not None and self._origin.scheme == "http":
            target = request.url
            headers.update(self._proxy.headers)
        if method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(size)
        try:
            connection.sock.settimeout(RESPONSE_TIMEOUT_S)
            connection.send(method, target, headers)
            body_cut = False
            if body is not None:
                try:
                    body.send(connection.send_body)
                except (BrokenPipeError, ConnectionResetError):
                    # The registry may refuse a body before its end (401, 413): the response says why.
                    body_cut = True
            if size:
                connection.sock.settimeout(RESPONSE_TIMEOUT_S + size / _COMMIT_BYTES_PER_SECOND)
            head = connection.receive_head()
            if size:
                connection.sock.settimeout(RESPONSE_TIMEOUT_S)
            if self._proxy and self._origin.scheme == "http" and head.status == 407:
                reason = f"{head.status} {escaped(head.reason, 80)}"
                raise ProxyRefused(reason, proxy=str(self._proxy), status=head.status)
            if body_cut and head.status < 400:
                raise ConnectionResetError("the server did not read the whole body")
            framing = head.framing(method)
            reusable = head.persists and framing.delimited and not body_cut
            body_reader = ResponseBody(connection, framing)
            return Response(self, connection, head, body_reader, request.url, reusable=reusable)
        except BaseException:
            connection.close()
            raise


def _is_readable(connection: Connection) -> bool:
    sock = connection.sock
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
