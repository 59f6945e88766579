"""A reverse proxy that passes HTTP/1.1 through byte for byte and writes down each request."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import overload

_BUFFER = 1 << 18


@dataclasses.dataclass
class Exchange:
    """One request and its answer.

    ``headers`` are the request's, names in lower case. ``sent`` and ``received`` count the bytes of the bodies, without
    chunk framing. ``started`` and ``answered`` are ``time.monotonic()`` at the two heads; ``status`` is 0 in between.
    """

    method: str
    path: str
    headers: dict[str, str]
    started: float
    status: int = 0
    sent: int = 0
    received: int = 0
    answered: float = 0.0


class Recording:
    """The exchanges since a mark, in the order in which the requests arrived."""

    def __init__(self, log: list[Exchange]) -> None:
        self._log = log
        self._first = len(log)
        self._last: int | None = None

    def stop(self) -> None:
        """Leave out every later request."""
        self._last = len(self._log)

    @property
    def exchanges(self) -> list[Exchange]:
        return self._log[self._first : self._last]

    @property
    def lines(self) -> list[tuple[str, str, int]]:
        """Method, path with query, and status of each exchange."""
        return [(exchange.method, exchange.path, exchange.status) for exchange in self.exchanges]

    @property
    def sent(self) -> int:
        """Bytes of all request bodies."""
        return sum(exchange.sent for exchange in self.exchanges)

    @property
    def received(self) -> int:
        """Bytes of all response bodies."""
        return sum(exchange.received for exchange in self.exchanges)

    def count(self, method: str, part: str = "") -> int:
        """Count the requests with this method and ``part`` somewhere in the path."""
        return sum(exchange.method == method and part in exchange.path for exchange in self.exchanges)

    def __len__(self) -> int:
        return len(self.exchanges)

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self.exchanges)

    @overload
    def __getitem__(self, index: int) -> Exchange: ...
    @overload
    def __getitem__(self, index: slice) -> list[Exchange]: ...
    def __getitem__(self, index: int | slice) -> Exchange | list[Exchange]:
        return self.exchanges[index]

    def __repr__(self) -> str:
        return "\n".join(
            f"{exchange.method} {exchange.path} {exchange.status} {exchange.sent}>{exchange.received}"
            for exchange in self
        )


class Recorder:
    """Listen on a free port of 127.0.0.1 and pass everything on to a server.

    Two independent threads per connection relay requests and answers, so ``100 Continue``, early answers, pipelined and
    chunked messages pass as they come.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self._upstream: Path | tuple[str, int] | None = None
        self._log: list[Exchange] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name=f"recorder-{self.port}", daemon=True)

    def start(self, upstream: Path | tuple[str, int]) -> None:
        """Accept connections and relay them to a unix socket or a TCP address."""
        self._upstream = upstream
        self._acceptor.start()

    def close(self) -> None:
        """Cut every connection and stop listening."""
        # A thread blocked in accept() is woken by shutdown, not by close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        if self._acceptor.ident is not None:
            self._acceptor.join(5)

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recording]:
        """Give the exchanges whose requests arrive inside the block."""
        recording = Recording(self._log)
        try:
            yield recording
        finally:
            recording.stop()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        with client:
            try:
                server = self._connect()
            except OSError:
                return
            with server:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                waiting: deque[Exchange] = deque()
                answers = threading.Thread(target=self._answers, args=(server, client, waiting), daemon=True)
                answers.start()
                self._requests(client, server, waiting)
                answers.join()
                with self._lock:
                    self._open -= {client, server}

    def _connect(self) -> socket.socket:
        assert self._upstream is not None
        if isinstance(self._upstream, tuple):
            server = socket.create_connection(self._upstream)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return server
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._upstream))
        except OSError:
            server.close()
            raise
        return server

    def _requests(self, client: socket.socket, server: socket.socket, waiting: deque[Exchange]) -> None:
        source = _Source(client)
        with contextlib.suppress(OSError):
            if not source.begins().isalpha():
                # A client that tries TLS first waits for the server's refusal.
                for piece, _ in source.rest():
                    server.sendall(piece)
            while source.begins():
                head = source.head()
                start, headers = _parse(head)
                method, path, _ = start.split(" ", 2)
                exchange = Exchange(method, path, headers, time.monotonic())
                self._log.append(exchange)
                waiting.append(exchange)
                server.sendall(head)
                for piece, content in source.body(headers, none_without_length=True):
                    exchange.sent += content
                    server.sendall(piece)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answers(self, server: socket.socket, client: socket.socket, waiting: deque[Exchange]) -> None:
        source = _Source(server)
        with contextlib.suppress(OSError):
            while source.begins():
                if not waiting:  # the refusal of what was no request
                    for piece, _ in source.rest():
                        client.sendall(piece)
                    break
                head = source.head()
                start, headers = _parse(head)
                status = int(start.split(" ", 2)[1])
                if status < 200:
                    client.sendall(head)
                    continue
                exchange = waiting.popleft()
                exchange.status, exchange.answered = status, time.monotonic()
                client.sendall(head)
                if exchange.method == "HEAD" or status in (204, 304):
                    continue
                for piece, content in source.body(headers, none_without_length=False):
                    exchange.received += content
                    client.sendall(piece)
        # In both directions: the other thread may wait for a request that would get no response.
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


class _Source:
    """The bytes of one direction, cut into heads and bodies (RFC 9112, section 6)."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""

    def _more(self) -> bool:
        got = self._sock.recv(_BUFFER)
        self._rest += got
        return bool(got)

    def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            if not self._more():
                raise ConnectionError("the stream ends within a message")
        stop = self._rest.index(end) + len(end)
        taken, self._rest = self._rest[:stop], self._rest[stop:]
        return taken

    def begins(self) -> bytes:
        """Return the first byte of the next message, without taking it; empty at the end of the stream."""
        if not self._rest:
            self._more()
        return self._rest[:1]

    def head(self) -> bytes:
        """Return the next message head with its blank line."""
        return self._until(b"\r\n\r\n")

    def body(self, headers: dict[str, str], *, none_without_length: bool) -> Iterator[tuple[bytes, int]]:
        """Yield the pieces of a body as they came, each with the number of content bytes in it."""
        if "chunked" in headers.get("transfer-encoding", "").lower():
            yield from self._chunked()
        elif "content-length" in headers:
            yield from self._exactly(int(headers["content-length"]))
        elif not none_without_length:
            yield from self.rest()

    def rest(self) -> Iterator[tuple[bytes, int]]:
        """Yield everything up to the end of the stream."""
        while self._rest or self._more():
            piece, self._rest = self._rest, b""
            yield piece, len(piece)

    def _exactly(self, size: int) -> Iterator[tuple[bytes, int]]:
        while size:
            if not self._rest and not self._more():
                raise ConnectionError("the stream ends within a message")
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece, len(piece)

    def _chunked(self) -> Iterator[tuple[bytes, int]]:
        while True:
            line = self._until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line, 0
            if size == 0:
                break
            yield from self._exactly(size)
            yield self._until(b"\r\n"), 0
        trailer = b""
        while trailer != b"\r\n":
            trailer = self._until(b"\r\n")
            yield trailer, 0


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    start, *fields = head.decode("latin-1").split("\r\n")
    pairs = (field.partition(":") for field in fields if field)
    return start, {name.strip().lower(): value.strip() for name, _, value in pairs}
