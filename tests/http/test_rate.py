"""The minimum rate, with a clock of our own."""

import functools

import pytest

from topcoat.http.connection import Connection, ResponseBody
from topcoat.http.errors import TooSlow
from topcoat.http.rate import MIN_BYTES_PER_SECOND, WINDOW_S, TransferRate
from topcoat.http.response_head import Framing


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("topcoat.http.connection.time.monotonic", lambda: now[0])
    return now


class SlowSocket:
    """A socket that takes *seconds* for each piece: of *pieces* when it receives, of *size* bytes when it sends."""

    def gettimeout(self):
        return None

    def settimeout(self, seconds):
        pass

    def __init__(self, clock, seconds, pieces=(), size=1):
        self._clock, self._seconds, self._pieces, self._size = clock, seconds, list(pieces), size

    def recv(self, size):
        self._clock[0] += self._seconds
        return self._pieces.pop(0) if self._pieces else b""

    def send(self, data):
        self._clock[0] += self._seconds
        return min(len(data), self._size)

    def sendall(self, data):
        pass


def test_the_last_minute_counts_not_the_average():
    rate = TransferRate()
    rate.add(10**9, 1.0)
    rate.add(10**9, WINDOW_S)
    with pytest.raises(TooSlow, match="slower than 1000 bytes/s"):
        rate.add(int(WINDOW_S * MIN_BYTES_PER_SECOND) - 1, WINDOW_S)


def test_a_slow_transfer_above_the_minimum_goes_on():
    rate = TransferRate()
    for _ in range(1000):
        rate.add(2 * MIN_BYTES_PER_SECOND, 1.0)


def test_a_body_of_one_byte_every_two_seconds_ends(clock):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    connection = Connection(SlowSocket(clock, 2, [head, *[b"x"] * 100]))
    connection.send("GET", "/", {})
    body = ResponseBody(connection, connection.receive_head().framing("GET"))
    with pytest.raises(TooSlow):
        list(iter(functools.partial(body.read, 100), b""))
    assert clock[0] < 2 * WINDOW_S


def test_a_head_of_one_byte_every_two_seconds_ends(clock):
    connection = Connection(SlowSocket(clock, 2, [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 99]))
    connection.send("GET", "/", {})
    with pytest.raises(TooSlow):
        connection.receive_head()


def test_an_upload_that_is_taken_byte_by_byte_ends(clock):
    connection = Connection(SlowSocket(clock, 2))
    connection.send("PUT", "/", {})
    with pytest.raises(TooSlow):
        connection.send_body(b"x" * 1000)


def test_a_server_may_take_its_time_until_its_response_begins(clock):
    pieces = [b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"]
    connection = Connection(SlowSocket(clock, 100, pieces))
    connection.send("PUT", "/", {})
    assert connection.receive_head().status == 201


def test_the_time_that_the_reader_takes_does_not_count(clock):
    connection = Connection(SlowSocket(clock, 0, [b"x"] * 100))
    body = ResponseBody(connection, Framing(100))
    for _ in range(100):
        clock[0] += 3600
        assert body.read(1) == b"x"
