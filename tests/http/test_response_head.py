import pytest

from topcoat.http.response_head import MOST_FIELDS, Framing, NotHTTP, parse_fields, parse_status


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
def test_a_status_line_is_read(line, minor, status, reason):
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
def test_anything_else_is_not_http(line):
    with pytest.raises(NotHTTP, match="an answer that begins with"):
        parse_status(line)


def test_headers_are_found_by_name_in_any_case_with_all_their_values():
    fields = head(b"Set-It:1", b"X:\t y \t", b"SET-IT:  2", b"Empty:", b"A: b: c")
    assert fields.all("set-IT") == ["1", "2"]
    assert (fields.all("x"), fields.all("Empty"), fields.all("A"), fields.all("None")) == (["y"], [""], ["b: c"], [])


@pytest.mark.parametrize(
    "line",
    [b"no colon", b": no name", b"Space : x", b" Folded: x", b"\tfolded", b"A: b\rc", b"A: \0", b"A\xe9: b", b"(A): b"],
)
def test_a_malformed_header_is_refused(line):
    with pytest.raises(NotHTTP, match="a header that reads"):
        parse_fields([b"Fine: yes", line])


def test_headers_are_counted():
    assert len(parse_fields([b"A: b"] * MOST_FIELDS)["a"]) == MOST_FIELDS
    with pytest.raises(NotHTTP, match=f"more than {MOST_FIELDS} headers"):
        parse_fields([b"A: b"] * (MOST_FIELDS + 1))


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
def test_whether_a_connection_can_be_used_again(status, lines, persists):
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
def test_where_a_body_ends(lines, framing):
    assert head(*lines).framing("GET") == framing
    assert framing.delimited is (framing != Framing(None))


@pytest.mark.parametrize("lines", [[b"Content-Length: 7"], [b"Transfer-Encoding: chunked"], []])
def test_some_answers_have_no_body_whatever_they_say(lines):
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
def test_a_body_that_could_end_in_two_places_is_refused(lines):
    with pytest.raises(NotHTTP, match="Content-Length"):
        head(*lines).framing("GET")


def test_chunks_are_refused_where_http_did_not_have_them_yet():
    with pytest.raises(NotHTTP, match=r"'chunked' .*HTTP/1\.0"):
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK").framing("GET")
