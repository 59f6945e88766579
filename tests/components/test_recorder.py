from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.components.recorder import Recorder, Recording


class _Echo(BaseHTTPRequestHandler):
    """Answer with the request's body, framed as the path says."""

    protocol_version = "HTTP/1.1"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self) -> None:
        if self.path == "/early":
            self.send_response(413)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return
        body = self._body()
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 4097):
                piece = body[start : start + 4097]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/until-close":
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_header("Content-Length", "10" if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    recorder = Recorder()
    recorder.start(("127.0.0.1", server.server_port))
    yield recorder
    recorder.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def log(recorder: Recorder) -> Iterator[Recording]:
    with recorder.recording() as recording:
        yield recording


@pytest.fixture
def client(recorder: Recorder) -> Iterator[HTTPConnection]:
    with contextlib.closing(HTTPConnection(recorder.host, timeout=60)) as connection:
        yield connection


@pytest.mark.parametrize("path", ["/plain", "/chunked", "/until-close"])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_pass_unchanged_and_are_counted_without_their_framing(
    client: HTTPConnection, log: Recording, path: str, chunked: bool
) -> None:
    body = bytes(range(256)) * 4096
    client.request("PUT", path, iter([body[:1000], body[1000:]]) if chunked else body, encode_chunked=chunked)

    assert client.getresponse().read() == body
    assert [
        (exchange.method, exchange.path, exchange.status, exchange.sent, exchange.received) for exchange in log
    ] == [("PUT", path, 200, len(body), len(body))]


def test_a_connection_is_kept_after_answers_without_body(client: HTTPConnection, log: Recording) -> None:
    client.connect()
    sock = client.sock
    for _ in range(3):
        client.request("HEAD", "/plain")
        answer = client.getresponse()
        assert (answer.headers["Content-Length"], answer.read()) == ("10", b"")

    assert client.sock is sock
    assert log.lines == [("HEAD", "/plain", 200)] * 3


def test_a_client_that_waits_for_100_continue_gets_it(recorder: Recorder, log: Recording) -> None:
    with socket.create_connection(("127.0.0.1", recorder.port), timeout=60) as sock:
        sock.sendall(b"PUT /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"data")
        sock.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: sock.recv(1000), b"")).endswith(b"\r\n\r\ndata")

    assert [(exchange.status, exchange.sent) for exchange in log] == [(200, 4)]


def test_an_answer_before_the_end_of_the_request_reaches_the_client(recorder: Recorder, log: Recording) -> None:
    with socket.create_connection(("127.0.0.1", recorder.port), timeout=60) as sock:
        sock.sendall(b"PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome")
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")

    assert log[0].status == 413


def test_a_client_that_tries_tls_is_refused_at_once(recorder: Recorder, log: Recording) -> None:
    with socket.create_connection(("127.0.0.1", recorder.port), timeout=60) as sock:
        sock.sendall(b"\x16\x03\x01\x00\x05hello\r\n")
        answer = b"".join(iter(lambda: sock.recv(1000), b""))

    assert b"400" in answer
    assert len(log) == 0


def test_requests_outside_of_the_block_are_left_out(recorder: Recorder, client: HTTPConnection) -> None:
    def get(path: str) -> None:
        client.request("GET", path)
        client.getresponse().read()

    get("/before")
    with recorder.recording() as inside:
        get("/inside")
    get("/after")

    assert [exchange.path for exchange in inside] == ["/inside"]


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    recorder = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    recorder.start(address)
    with socket.create_connection(("127.0.0.1", recorder.port), timeout=60) as sock:
        assert sock.recv(1) == b""
    recorder.close()
