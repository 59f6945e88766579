"""Any text in a header, and any JSON, is read without a surprise."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from topcoat.foreign_text import parse_json
from topcoat.http.origin import Origin, parse_url
from topcoat.http.response_head import parse_count
from topcoat.registry.failures import redact
from topcoat.registry.headers import is_token, parse_challenges, parse_range_start, parse_retry_after

_DIGITS = st.text("0123456789²٣-+. _eE", max_size=40)


@given(st.text() | _DIGITS)
@example("²")
@example("٣")
@example("9" * 19)
@example("1_000")
def test_a_count_is_ascii_digits_within_64_bits(text):
    count = parse_count(text)
    assert (count is not None) == (text.isascii() and text.isdigit() and len(text) <= 18)
    assert count is None or 0 <= count < 2**63


@given(st.text() | _DIGITS | st.from_regex(r"(Mon|X), ?\d{1,6} (Jan|Foo) \d{1,6} \d{1,4}:\d\d:\d\d (GMT|[+-]\d{1,9})"))
@example("²")
@example("9" * 400)
@example("Mon, 01 Jan 0001 00:00:00 GMT")
@example("Mon, 01 Jan 9999 23:59:59 -9999")
@example("Mon, 01 Jan 99999 00:00:00 GMT")
@example("nan")
def test_a_retry_after_is_a_finite_number_of_seconds(text):
    wait = parse_retry_after(text)
    assert math.isfinite(wait)
    assert wait >= 0


@given(st.text() | st.from_regex(r"bytes \d{1,30}-\d{1,30}/(\d{1,30}|\*)"))
def test_a_content_range_has_a_start_or_is_invalid(text):
    start = parse_range_start(text)
    assert start is None or text.strip().startswith("bytes ")


def test_a_content_range_is_read():
    assert parse_range_start("bytes 5-9/10") == 5
    assert parse_range_start("bytes 5-9/*") == 5
    assert [parse_range_start(text) for text in ("", "bytes */10", "items 5-9/10", "bytes ²-9/10")] == [None] * 4


@given(st.text() | st.text('Ba="\\, ', max_size=200))
@example('Bearer realm="' + "a" * 10**6)
@example("Bearer " + 'a="' * 10**5)
@example("a " * 10**5)
def test_challenges_are_limited(text):
    challenges = parse_challenges([text])
    assert len(challenges) <= 16
    assert all(len(value) <= 16 * 1024 for challenge in challenges for value in challenge.params.values())


@given(st.text() | st.none() | st.integers() | st.lists(st.text()))
@example("a\nb")
@example("a\n")
@example("")
@example("x" * 65537)
def test_a_token_can_be_sent_in_a_header(value):
    if is_token(value):
        assert f"Bearer {value}".isascii()
        assert value.isprintable()
        assert " " not in value


_URLS = st.builds(
    "{}://{}{}{}{}".format,
    st.sampled_from(["http", "https", "ftp", "", "HTTP"]),
    st.sampled_from(["", "user:pw@", "@", "a@b@", "["]),
    st.text(max_size=20)
    | st.sampled_from(["h", "a" * 64, "a..b", "[::1]", "[fe80::1%25eth0]", "ü.de", "127.1", "-", "h."]),
    st.sampled_from(["", ":", ":80", ":0", ":99999", ":x", ":²"]),
    st.text(max_size=20).map(lambda text: f"/{text}"),
)


@given(_URLS | st.text())
@example("https://" + "a" * 64 + ".io/")
@example("https://xn--\ud800/")
@example("https://ｅxample.com/")
@example("https://h/" + "a" * 20000)
def test_a_url_can_be_sent_or_is_malformed(url):
    try:
        parts = parse_url(url)
    except ValueError as error:
        message = str(error)
        parts = None
    if parts is None:
        assert message in ("malformed", "characters that a URL must not have", "longer than 16384 characters")
        return
    origin = Origin.of(parts.geturl())
    assert origin.scheme in ("http", "https")
    assert 0 < origin.port < 65536
    assert origin.authority.isascii()
    assert "@" not in parts.netloc
    f"{parts.path}?{parts.query} {origin.authority}".encode("latin-1")


@given(_URLS | st.text())
def test_any_url_can_be_shown(url):
    assert redact(url).isprintable()
    if "user:pw@h/" in url:
        assert "pw" not in redact(url)


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")))
@example(b"[" * 100_000)
@example(b'{"a":' * 5000 + b"1" + b"}" * 5000)
@example(b"[" * 101 + b"]" * 101)
@example(b"1" * 5000)
@example(b'{"expires_in": ' + b"9" * 400 + b"}")
@example(b"\xff\xfe[\x00")
def test_any_json_is_read_or_invalid(data):
    try:
        document = parse_json(data)
    except ValueError:
        return
    json.dumps(document)


@pytest.mark.parametrize("depth", [1, 50, 100])
def test_json_of_an_ordinary_depth_is_read(depth):
    assert parse_json(b"[" * depth + b"]" * depth) == json.loads("[" * depth + "]" * depth)
