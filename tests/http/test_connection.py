"""The parser is compared with ``http.client``: a response that both accept is read alike by both."""

import contextlib
import http.client
import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.http.connection import Connection, ResponseBody
from topcoat.http.errors import NotHTTP, ProxyRefused


class FakeSocket:
    """A socket that receives *data* in pieces, cut at *cuts*."""

    def gettimeout(self):
        return None

    def settimeout(self, seconds):
        pass

    def __init__(self, data, cuts=()):
        edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        self._pieces = [data[a:b] for a, b in pairwise(edges)]
        self.sent = b""

    def recv(self, size):
        piece = self._pieces.pop(0) if self._pieces else b""
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]

    def sendall(self, data):
        self.sent += data


class SocketOfHTTPClient:
    """A socket as ``http.client`` reads it."""

    def __init__(self, data):
        self._data = data

    def makefile(self, mode):
        return io.BytesIO(self._data)


def connection_to(data, cuts=()):
    return Connection(FakeSocket(data, cuts))


def body_of(connection, method="GET", step=1 << 20):
    body = ResponseBody(connection, connection.receive_head().framing(method))
    parts = []
    while part := body.read(step):
        assert len(part) <= step
        parts.append(part)
    assert body.ended
    return b"".join(parts)


def chunked(pieces, extensions=(), trailers=()):
    """Return *pieces*, none of them empty, in the chunked coding."""
    lines = [
        b"%x%s\r\n%s\r\n" % (len(piece), extensions[i % len(extensions)] if extensions else b"", piece)
        for i, piece in enumerate(pieces)
    ]
    return b"".join(lines) + b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"


# Content-Length and Transfer-Encoding are added with the body; Connection only matters for the next response.
_NAMES = st.from_regex(r"X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
_VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_categories=["Cc"]), max_size=30)
_FIELDS = st.lists(st.tuples(_NAMES, _VALUES.map(str.strip)), max_size=8)
_CUTS = st.lists(st.integers(0, 1 << 16), max_size=12)
_PIECES = st.lists(st.binary(min_size=1, max_size=300), max_size=6)
_EXTENSIONS = st.lists(st.sampled_from([b"", b";a", b" ; a=b", b';a="b"']), max_size=3)
_TRAILERS = st.lists(st.sampled_from([b"Digest: x", b"X: y"]), max_size=2)


@st.composite
def responses(draw):
    """Return method, response, framing and body; with the framing "end", the body ends with the connection."""
    status = draw(st.integers(200, 599) | st.sampled_from([204, 304]))
    method = draw(st.sampled_from(["GET", "HEAD", "PUT"]))
    fields = draw(_FIELDS)
    bodiless = method == "HEAD" or status in (204, 304)
    # http.client expects chunks after a 204 or 304 that announces them.
    framing = draw(st.sampled_from(["length", "end"] if status in (204, 304) else ["length", "chunked", "end"]))
    pieces = draw(_PIECES)
    body = b"".join(pieces)
    if framing == "length":
        fields.insert(draw(st.integers(0, len(fields))), ("Content-Length", str(len(body))))
        sent = body
    elif framing == "chunked":
        fields.insert(draw(st.integers(0, len(fields))), ("Transfer-Encoding", "chunked"))
        sent = chunked(pieces, draw(_EXTENSIONS), draw(_TRAILERS))
    else:
        sent = body
    interim = draw(
        st.lists(st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 C\r\nA: b\r\n\r\n"]), max_size=2)
    )
    reason = draw(st.sampled_from(["OK", "", "Not Found"]))
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields)]
    head = "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
    return method, b"".join(interim) + head + (b"" if bodiless else sent), framing, b"" if bodiless else body


@given(responses(), _CUTS, st.integers(1, 1 << 12))
def test_a_response_is_read_as_http_client_reads_it_in_pieces_of_any_size(response, cuts, step):
    method, data, _, _ = response
    theirs = http.client.HTTPResponse(SocketOfHTTPClient(data), method=method)
    theirs.begin()
    connection = connection_to(data, cuts)
    head = connection.receive_head()
    assert (head.status, head.reason) == (theirs.status, theirs.reason)
    # The names are theirs: http.client takes some Latin-1 characters for the end of a line.
    for name in {name.lower() for name, _ in theirs.getheaders()}:
        assert head.all(name) == [value.strip(" \t") for value in theirs.headers.get_all(name)]
    body = ResponseBody(connection, head.framing(method))
    parts = []
    while part := body.read(step):
        parts.append(part)
    assert b"".join(parts) == theirs.read()
    assert body.ended
    assert not connection.has_unread_data


@given(responses(), st.data())
def test_a_response_with_bare_lfs_is_refused_or_read_as_http_client_reads_it(response, data):
    method, sent, _, _ = response
    lines = sent.split(b"\r\n")
    ends = data.draw(st.lists(st.sampled_from([b"\r\n", b"\n"]), min_size=len(lines), max_size=len(lines)))
    changed = b"".join(line + end for line, end in zip(lines[:-1], ends, strict=False)) + lines[-1]
    try:
        body = body_of(connection_to(changed), method)
    except (NotHTTP, ConnectionResetError):
        return
    theirs = http.client.HTTPResponse(SocketOfHTTPClient(changed), method=method)
    theirs.begin()
    assert theirs.read() == body


@given(st.lists(responses(), min_size=1, max_size=4), _CUTS)
def test_responses_on_one_connection_are_separated(several, cuts):
    delimited = [response for response in several if response[2] != "end"]
    connection = connection_to(b"".join(data for _, data, _, _ in delimited), cuts)
    for method, _, _, body in delimited:
        assert body_of(connection, method) == body
    assert not connection.has_unread_data


@given(responses(), st.data())
def test_an_incomplete_response_is_never_taken_for_a_complete_one(response, data):
    method, whole, framing, body = response
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    if framing == "end" and not (len(cut) < len(whole) - len(body)):
        return
    with pytest.raises(ConnectionResetError):
        body_of(connection_to(cut), method)


@given(st.binary(max_size=200), _CUTS)
def test_any_bytes_are_a_response_or_one_of_two_errors(noise, cuts):
    for data in (
        noise,
        b"HTTP/1.1 200 OK\r\n" + noise,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + noise,
    ):
        with contextlib.suppress(NotHTTP, ConnectionResetError):
            body_of(connection_to(data, cuts))


def test_a_bare_lf_ends_a_line_of_the_head():
    assert body_of(connection_to(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi")) == b"hi"


@pytest.mark.parametrize(
    "sent",
    [
        b"z\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"3 3\r\nabc\r\n",
        b"1_0\r\n",
        b" 3\r\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"1000000000000000\r\n",
        b"3;" + b"x" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
        b"0\r\nno header\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"0\r\nA: " + b"b" * 200_000 + b"\r\n\r\n",
    ],
)
def test_malformed_chunks_are_refused(sent):
    with pytest.raises(NotHTTP):
        body_of(connection_to(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent))


@pytest.mark.parametrize(
    "sent",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"3;a=b\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc\r\n0\n\r\n",
        b"3\r\nabc\r\n0\r\nA: b\n\r\n",
        b"3\r\nabc\r\n0\r\n\n",
    ],
)
def test_a_bare_lf_in_chunk_framing_is_refused(sent):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert body_of(connection_to(head + sent.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))) == b"abc"
    with pytest.raises(NotHTTP, match="bare LF"):
        body_of(connection_to(head + sent))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 " + b"x" * 200_000,
        b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 200,
    ],
)
def test_a_head_is_not_read_beyond_the_limit(data):
    sock = FakeSocket(data * 10, range(0, len(data) * 10, 4096))
    with pytest.raises(NotHTTP):
        Connection(sock).receive_head()
    assert sock._pieces


def test_interim_responses_are_skipped_up_to_a_limit():
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    connection = connection_to(early * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert connection.receive_head().status == 200
    with pytest.raises(NotHTTP, match="unexpected status 103"):
        connection_to(early * 100).receive_head()


def test_a_switch_of_protocols_is_refused():
    with pytest.raises(NotHTTP, match="unexpected status 101"):
        connection_to(b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").receive_head()


def test_a_connection_knows_whether_the_response_had_started():
    silent, started = connection_to(b""), connection_to(b"HTTP/1.1 2")
    for connection in (silent, started):
        with pytest.raises(ConnectionResetError):
            connection.receive_head()
    assert (silent.response_started, started.response_started) == (False, True)


def test_the_rest_of_a_body_is_read_if_it_is_small():
    head = b"HTTP/1.1 200 OK\r\n"
    for rest, limit, ended in [
        (b"Content-Length: 5\r\n\r\nhello", 5, True),
        (b"Content-Length: 5\r\n\r\nhello", 4, False),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 6, True),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 4, False),
        (b"\r\nhello", 100, False),
    ]:
        connection = connection_to(head + rest)
        body = ResponseBody(connection, connection.receive_head().framing("GET"))
        body.drain(limit)
        assert body.ended is ended


def test_the_head_of_a_request_is_sent_at_once():
    connection = connection_to(b"")
    connection.send("PUT", "/v2/?a=b", {"Host": "reg.io", "X": "caf\xe9"})
    assert connection.sock.sent == b"PUT /v2/?a=b HTTP/1.1\r\nHost: reg.io\r\nX: caf\xe9\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "target", "value"),
    [
        ("GET", "/a b", "x"),
        ("GET", "/a\r\nX: y", "x"),
        ("GET", "", "x"),
        ("GET", "/\xe9", "x"),
        ("GET /", "/", "x"),
        ("", "/", "x"),
        ("GET", "/", "x\r\nY: z"),
        ("GET", "/", "x\n"),
        ("GET", "/", "x\0"),
    ],
)
def test_a_request_that_could_be_read_as_two_is_not_sent(method, target, value):
    connection = connection_to(b"")
    with pytest.raises(ValueError, match="invalid"):
        connection.send(method, target, {"Host": "reg.io", "X": value})
    assert connection.sock.sent == b""


def test_a_tunnel_is_requested_by_name_and_port():
    connection = connection_to(b"HTTP/1.1 200 Connection established\r\nContent-Length: 9\r\n\r\n")
    connection.tunnel("reg.io", 443, {"Proxy-Authorization": "Basic x"})
    assert connection.sock.sent.startswith(b"CONNECT reg.io:443 HTTP/1.1\r\nHost: reg.io:443\r\nProxy-Authorization: ")


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (b"HTTP/1.1 407 Login\r\n\r\n", ProxyRefused),
        (b"HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n", ProxyRefused),
        (b"", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\n\r\nbytes too early", NotHTTP),
        (b"SSH-2.0\r\n", NotHTTP),
    ],
)
def test_a_tunnel_that_the_proxy_did_not_open_is_not_used(response, error):
    with pytest.raises(error):
        connection_to(response).tunnel("reg.io", 443, {})
