"""An HTTP server on loopback that can inject faults into what it sends."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from topcoat.testing.faults import Faults
from topcoat.testing.registry_messages import Response, error

_DRIP_S = 0.02
# A client that waits longer has no limit of its own.
_MAX_SILENCE_S = 600.0
_PAGE = b"<!DOCTYPE html><html><title>Welcome</title><body>Please log in to this network.</body></html>"
_OTHER_DIGEST = f"sha256:{'0123456789abcdef' * 4}"
_STATUSES = {
    "401": error(401, "UNAUTHORIZED", "authentication required"),
    "403": error(403, "DENIED", "requested access to the resource is denied"),
    "404": error(404, "NOT_FOUND", "not found"),
    "429": error(429, "TOOMANYREQUESTS", "rate exceeded"),
    "500": error(500, "UNKNOWN", "unknown error"),
    "503": error(503, "UNAVAILABLE", "service unavailable"),
    "html": Response(200, _PAGE, {"Content-Type": "text/html; charset=utf-8"}),
    "empty": Response(200),
}
_STATUSES["401"] = _STATUSES["401"]._replace(
    headers={"Content-Type": "application/json", "WWW-Authenticate": 'Basic realm="fault"'}
)
_STATUSES["429"] = _STATUSES["429"]._replace(headers={"Content-Type": "application/json", "Retry-After": "0"})


class FaultServer(ThreadingHTTPServer):
    """Listens on a free loopback port until `stop`; *tls* makes it speak TLS.

    Attributes:
        host: ``127.0.0.1:PORT``.
        faults: of its responses.
    """

    daemon_threads = True

    def __init__(
        self, handler: type[FaultHandler], faults: Faults | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.faults = faults or Faults()
        self.stopped = threading.Event()
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._elsewhere: FaultServer | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._listen()

    @property
    def elsewhere(self) -> str:
        """Another host, which has a page of HTML for every request; it listens since it was first asked for."""
        with self._lock:
            self._elsewhere = self._elsewhere or FaultServer(_PageHandler)
            return self._elsewhere.host

    def stop(self) -> None:
        """Stop listening and cut the open connections."""
        self.stopped.set()
        self.refuse()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if self._elsewhere is not None:
            self._elsewhere.stop()

    def refuse(self) -> None:
        """Refuse connections from now on."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self.shutdown()
                thread.join()
                self.socket.close()

    def end_faults(self) -> None:
        """Forget all faults, and accept connections if they are refused."""
        self.faults.clear()
        with self._lock:
            if self._thread is None:
                self.socket = socket.socket(self.address_family, self.socket_type)
                self.server_bind()
                self.server_activate()
                self._listen()

    def _listen(self) -> None:
        if self._tls:
            # The handshake runs in the connection's thread, so that a failing client does not block the others.
            self.socket = self._tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Record the connection and handle it in a thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Remove the connection and close it."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore it: clients may hang up."""


class FaultHandler(BaseHTTPRequestHandler):
    """Handles the requests of one connection; subclasses define `respond`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: FaultServer
    _sent = 0

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Do not log: requests are recorded."""

    def do_GET(self) -> None:
        """Respond to a request of any method."""
        fault = self.server.faults.take()
        if fault:
            self._inject(fault)
        else:
            self.handle_request()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def handle_request(self) -> None:
        """Respond without a fault."""
        self.write(self.respond())

    def respond(self) -> Response:
        """Read the request, handle it and return the response."""
        raise NotImplementedError

    def record(self, status: int) -> None:
        """Record the request and the status of its response, 0 without one."""

    def read_body(self) -> bytes:
        """Read the body of the request."""
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length else b""

    def write(self, response: Response) -> None:
        """Send *response*."""
        self.record(response.status)
        self.wfile.write(self.encode(response))

    def hang_up(self) -> None:
        """Send what was written, and end the connection."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _inject(self, fault: str) -> None:
        if fault in _STATUSES or fault == "redirect":
            self.read_body()
            location = {"Location": f"http://{self.server.elsewhere}/"} if fault == "redirect" else {}
            self.write(_STATUSES.get(fault) or Response(307, b"", location))
            return
        if fault in ("reset-before", "refuse"):
            self.read_body()
            if fault == "refuse":
                self.server.refuse()
            self._reset()
            return
        response = self.respond()
        if fault == "reset-after":
            self._reset()
        elif fault == "lost-response":
            self.record(0)
            self.close_connection = True
            self._wait_for_client()
        elif fault == "truncate":
            self.record(0)
            data = self.encode(response)
            head = data.index(b"\r\n\r\n") + 4
            self.wfile.write(data[: (head + len(data)) // 2 if len(data) > head else head // 2])
            self.hang_up()
        elif fault == "drip":
            self._drip(response)
        elif fault == "wrong-digest":
            headers = {**response.headers, "Docker-Content-Digest": _OTHER_DIGEST}
            self.write(response._replace(body=_damaged(response.body), headers=headers))
        else:
            self.write(response._replace(headers={**response.headers, "Location": "/nowhere"}))

    def _drip(self, response: Response) -> None:
        self.record(response.status)
        for byte in self.encode(response):
            if self.server.stopped.wait(_DRIP_S):
                break
            try:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            except OSError:
                break
        self.close_connection = True

    def _wait_for_client(self) -> None:
        """Wait until the client hangs up."""
        deadline = time.monotonic() + _MAX_SILENCE_S
        self.connection.settimeout(0.05)
        while time.monotonic() < deadline and not self.server.stopped.is_set():
            try:
                if not self.connection.recv(1024):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def _reset(self) -> None:
        self.record(0)
        self.close_connection = True
        reset(self.connection)

    def encode(self, response: Response) -> bytes:
        """Return the bytes of *response*; that to HEAD has no body."""
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        reason = self.responses.get(response.status, ("", ""))[0]
        fields = [f"{name}: {value}" for name, value in headers.items() if value]
        head = "\r\n".join([f"HTTP/1.1 {response.status} {reason}", *fields, "\r\n"]).encode("latin-1")
        return head if self.command == "HEAD" else head + response.body


class _PageHandler(FaultHandler):
    """Has a page of HTML for every request."""

    def respond(self) -> Response:
        self.read_body()
        return _STATUSES["html"]


def reset(connection: socket.socket) -> None:
    """Reset *connection*: the other side gets an error, not the end of the stream."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def _damaged(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1]) if body else body
