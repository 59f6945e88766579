"""A proxy before an engine that refuses some requests, or uses TLS."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.components.daemons import Docker

# Headers of one hop (RFC 9110, section 7.6.1), or set by the proxy.
_OWN = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


class Answer(NamedTuple):
    """The proxy's response instead of the engine's."""

    status: int
    body: bytes = b""


@contextlib.contextmanager
def refusing(engine: Docker, answers: Mapping[str, Answer], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the address of a proxy before *engine*: a POST or PUT to a path that ends with a key gets that response."""
    upstream = engine.host.removeprefix("unix://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = b"".join(self._body())
            path = self.path.partition("?")[0]
            for end, answer in answers.items():
                if path.endswith(end) and self.command in ("POST", "PUT"):
                    self._answer(answer.status, [("Content-Type", "application/json")], answer.body)
                    return
            connection = http.client.HTTPConnection("localhost")
            connection.sock = socket.socket(socket.AF_UNIX)
            with contextlib.closing(connection):
                connection.sock.connect(upstream)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                self._answer(response.status, response.getheaders(), response.read())

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815

        def _body(self) -> Iterator[bytes]:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
                return
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
