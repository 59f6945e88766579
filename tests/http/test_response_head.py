import pytest

from topcoat.http.errors import NotHTTP
from topcoat.http.response_head import MAX_FIELDS, Framing, parse_fields, parse_status


def head(*lines, status=b"HTTP/1.1 200 OK"):
    return parse_status(status)._replace(fields=parse_fields(lines))


@pytest.mark.parametrize(
    ("line", "minor", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 1, 200, "OK"),
        (b"HTTP/1.0 404 Not  Found ", 0, 404, "Not  Found"),
        (b"HTTP/1.1 503", 1, 503, ""),
        (b"HTTP/1.1 503 ", 1, 503, ""),
        (b"HTTP/1.1 299 \xe9t\xe9", 1, 299, "\xe9t\xe9"),
    ],
)
def test_a_status_line_is_parsed(line, minor, status, reason):
    assert parse_status(line) == (minor, status, reason, {})


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"SSH-2.0-x",
        b"HTTP/2 200",
        b"HTTP/1 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1  200 OK",
        b" HTTP/1.1 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\0K",
        b"HTTP/1.1 \xb2\xb2\xb2 OK",
    ],
)
def test_any_other_status_line_is_refused(line):
    with pytest.raises(NotHTTP, match="invalid status line"):
        parse_status(line)


def test_all_values_of_a_header_are_found_by_its_name_in_any_case():
    fields = head(b"Set-It:1", b"X:\t y \t", b"SET-IT:  2", b"Empty:", b"A: b: c")
    assert fields.all("set-IT") == ["1", "2"]
    assert (fields.all("x"), fields.all("Empty"), fields.all("A"), fields.all("None")) == (["y"], [""], ["b: c"], [])


@pytest.mark.parametrize(
    "line",
    [b"no colon", b": no name", b"Space : x", b" Folded: x", b"\tfolded", b"A: b\rc", b"A: \0", b"A\xe9: b", b"(A): b"],
)
def test_a_malformed_header_is_refused(line):
    with pytest.raises(NotHTTP, match="invalid header line"):
        parse_fields([b"Fine: yes", line])


def test_too_many_headers_are_refused():
    assert len(parse_fields([b"A: b"] * MAX_FIELDS)["a"]) == MAX_FIELDS
    with pytest.raises(NotHTTP, match=f"more than {MAX_FIELDS} headers"):
        parse_fields([b"A: b"] * (MAX_FIELDS + 1))


@pytest.mark.parametrize(
    ("status", "lines", "persists"),
    [
        (b"HTTP/1.1 200 OK", [], True),
        (b"HTTP/1.1 200 OK", [b"Connection: close"], False),
        (b"HTTP/1.1 200 OK", [b"Connection: x, CLOSE"], False),
        (b"HTTP/1.1 200 OK", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"HTTP/1.0 200 OK", [], False),
        (b"HTTP/1.0 200 OK", [b"Connection: Keep-Alive"], True),
        (b"HTTP/1.0 200 OK", [b"Connection: keep-alive, close"], False),
    ],
)
def test_the_version_and_the_connection_header_decide_whether_a_connection_is_reused(status, lines, persists):
    assert head(*lines, status=status).persists is persists


@pytest.mark.parametrize(
    ("lines", "framing"),
    [
        ([b"Content-Length: 7"], Framing(7)),
        ([b"Content-Length: 0"], Framing(0)),
        ([b"Content-Length: 7, 7", b"content-length:7"], Framing(7)),
        ([b"Transfer-Encoding: Chunked"], Framing(None, chunked=True)),
        ([], Framing(None)),
    ],
)
def test_the_headers_decide_where_a_body_ends(lines, framing):
    assert head(*lines).framing("GET") == framing
    assert framing.delimited is (framing != Framing(None))


@pytest.mark.parametrize("lines", [[b"Content-Length: 7"], [b"Transfer-Encoding: chunked"], []])
def test_responses_to_head_and_with_204_and_304_have_no_body(lines):
    assert head(*lines).framing("HEAD") == Framing(0)
    for status in (b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"):
        assert head(*lines, status=status).framing("GET") == Framing(0)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 7", b"Content-Length: 8"],
        [b"Content-Length: 7, 8"],
        [b"Content-Length: 7, 07"],
        [b"Content-Length: 7,"],
        [b"Content-Length:"],
        [b"Content-Length: -1"],
        [b"Content-Length: +1"],
        [b"Content-Length: 0x10"],
        [b"Content-Length: 1_0"],
        [b"Content-Length: \xb2"],
        [b"Content-Length: 9999999999999999999"],
        [b"Content-Length: 7", b"Transfer-Encoding: chunked"],
        [b"Content-Length:", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding:"],
    ],
)
def test_an_ambiguous_body_length_is_refused(lines):
    with pytest.raises(NotHTTP, match="Content-Length"):
        head(*lines).framing("GET")


def test_chunks_are_refused_in_http_1_0():
    with pytest.raises(NotHTTP, match=r"'chunked' .*HTTP/1\.0"):
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK").framing("GET")
