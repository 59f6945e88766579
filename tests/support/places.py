"""Servers on loopback that speak HTTP and TLS on one port, follow a script, and record all that they receive."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import NamedTuple

from tests.support.http_servers import read_request


class Seen(NamedTuple):
    """A request as it was received."""

    secure: bool
    head: str
    body: str

    @property
    def target(self) -> str:
        """Path and query."""
        return self.head.split(" ")[1]


class Place:
    """A server at *address*; *respond* gets each request and returns the response, which ends the connection."""

    def __init__(self, address: str, tls: tuple[str, str]) -> None:
        self.respond: Callable[[Seen], bytes] = lambda seen: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        self.seen: list[Seen] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*tls)
        self._listener = socket.create_server((address, 0))
        self.host = f"{address}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def url(self, path: str = "/", *, secure: bool = False) -> str:
        """Return a URL here."""
        return f"{'https' if secure else 'http'}://{self.host}{path}"

    def received(self) -> str:
        """Return all that was received, as one text."""
        return "\n".join(seen.head + seen.body for seen in self.seen)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(5)
            with contextlib.suppress(OSError), connection:
                secure = connection.recv(1, socket.MSG_PEEK) == b"\x16"
                if secure:
                    connection = self._context.wrap_socket(connection, server_side=True)
                with connection:
                    head, body = read_request(connection)
                    seen = Seen(secure, head.decode("latin-1"), body.decode("latin-1"))
                    if head:
                        self.seen.append(seen)
                        connection.sendall(self.respond(seen))


def response(status: int, body: str = "", **headers: str) -> bytes:
    """Return a response after which the connection ends; underscores in names of headers are hyphens."""
    content = body.encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode() + content
