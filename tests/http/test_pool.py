import io
import threading

import pytest

from tests.support.http_servers import ok, read_request, respond, scripted_server
from topcoat.http.errors import BodyTooShort
from topcoat.http.origin import Origin
from topcoat.http.pool import Pool
from topcoat.http.request import Body, Request
from topcoat.http.tls import TLSSettings


@pytest.fixture
def pool_of():
    """Make pools that are closed after the test."""
    pools = []

    def make(host, scheme="http"):
        name, _, port = host.partition(":")
        pools.append(Pool(Origin(scheme, name, int(port)), TLSSettings()))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def _request(host, method="GET", body=None, **headers):
    return Request(method, f"http://{host}/x?a=1", headers, body)


def test_a_connection_is_used_again(pool_of):
    heads = []

    def serve_two(connection):
        for _ in range(2):
            heads.append(read_request(connection)[0])
            connection.sendall(ok(b"hello"))

    with scripted_server(serve_two) as host:
        pool = pool_of(host)
        for _ in range(2):
            assert pool.exchange(_request(host)).read_all(100) == b"hello"
    assert [head.split(b"\r\n")[0] for head in heads] == [b"GET /x?a=1 HTTP/1.1"] * 2


def test_a_connection_that_was_closed_while_idle_is_not_used_again(pool_of):
    closed = threading.Event()

    def serve_one(connection):
        respond(ok(b"1"))(connection)
        closed.set()

    with scripted_server(serve_one, respond(ok(b"2"))) as host:
        pool = pool_of(host)
        assert pool.exchange(_request(host)).read_all(9) == b"1"
        closed.wait(5)
        assert pool.exchange(_request(host)).read_all(9) == b"2"


def test_a_request_on_a_stale_connection_is_sent_again_with_its_whole_body(pool_of):
    bodies = []

    def close_on_second(connection):
        read_request(connection)
        connection.sendall(ok(b"1"))
        bodies.append(read_request(connection)[1])
        connection.close()

    def serve(connection):
        bodies.append(read_request(connection)[1])
        connection.sendall(ok(b"2"))

    with scripted_server(close_on_second, serve) as host:
        pool = pool_of(host)
        assert pool.exchange(_request(host)).read_all(9) == b"1"
        file = io.BytesIO(b"skip" + b"body" * 1000)
        file.seek(4)
        assert pool.exchange(_request(host, "PUT", Body(file))).read_all(9) == b"2"
    assert bodies == [b"body" * 1000] * 2


def test_a_request_on_a_new_connection_that_is_cut_is_not_repeated(pool_of):
    with scripted_server(lambda connection: connection.close(), respond(ok())) as host, pytest.raises(ConnectionError):
        pool_of(host).exchange(_request(host))


@pytest.mark.parametrize("reads_on", [True, False])
def test_the_response_to_a_body_that_is_refused_before_its_end_is_read(pool_of, reads_on):
    def refuse(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        while reads_on and connection.recv(1 << 20):
            pass
        connection.close()

    with scripted_server(refuse, respond(ok(b"next"))) as host:
        pool = pool_of(host)
        response = pool.exchange(_request(host, "PUT", Body(b"x" * (64 << 20))))
        assert response.status == 413
        assert response.read_all(9) == b"big"
        # A connection with a half-sent request cannot be reused.
        assert len(pool._idle) == reads_on
        pool.close()
        assert pool.exchange(_request(host)).read_all(9) == b"next"


def test_an_incomplete_body_is_an_error(pool_of):
    with scripted_server(respond(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as host:
        response = pool_of(host).exchange(_request(host))
        with pytest.raises(ConnectionResetError):
            response.read_all(100)


def test_a_connection_is_used_again_after_a_chunked_response(pool_of):
    def serve(connection):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        read_request(connection)
        connection.sendall(ok(b"next"))

    with scripted_server(serve) as host:
        pool = pool_of(host)
        assert pool.exchange(_request(host)).read_all(100) == b"abcde"
        assert pool.exchange(_request(host)).read_all(100) == b"next"


def test_a_body_is_not_read_beyond_the_limit(pool_of):
    with scripted_server(respond(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)) as host:
        assert pool_of(host).exchange(_request(host)).read_all(10) == b"x" * 10


def test_at_most_eight_idle_connections_are_kept(pool_of):
    def serve(connection):
        read_request(connection)
        connection.sendall(ok(b"12345678"))

    with scripted_server(*[serve] * 12) as host:
        pool = pool_of(host)
        responses = [pool.exchange(_request(host)) for _ in range(12)]
        for response in responses:
            response.read_all(100)
        assert len(pool._idle) == 8
        pool.close()
        assert pool._idle == []


def test_a_connection_given_back_to_a_closed_pool_is_closed(pool_of):
    with scripted_server(respond(ok(b"1"))) as host:
        pool = pool_of(host)
        response = pool.exchange(_request(host))
        pool.close()
        response.read_all(9)
        assert pool._idle == []


def test_a_plain_http_request_through_a_proxy_has_the_whole_url(monkeypatch, pool_of):
    heads = []

    def serve(connection):
        heads.append(read_request(connection)[0].decode())
        connection.sendall(ok(b"hi"))

    with scripted_server(serve) as host:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:pw@{host}")
        pool = pool_of("reg.example:80")
        assert pool.exchange(Request("GET", "http://reg.example/v2/", {})).read_all(9) == b"hi"
    assert heads[0].startswith("GET http://reg.example/v2/ HTTP/1.1\r\nHost: reg.example\r\n")
    assert "Proxy-Authorization: Basic bWU6cHc=" in heads[0]


def test_a_body_can_be_sent_twice_and_read_in_parts():
    for body in (Body(b"0123456789"), Body(io.BytesIO(b"0123456789"))):
        for _ in range(2):
            sent = []
            body.send(sent.append)
            assert b"".join(sent) == b"0123456789"
        assert body.size == 10
        assert body.part(8, 5) == b"89"


def test_a_file_that_has_become_shorter_is_an_error():
    file = io.BytesIO(b"0123456789")
    body = Body(file)
    file.truncate(4)
    with pytest.raises(BodyTooShort, match="ended after 4 of 10 bytes"):
        body.send(lambda block: None)
