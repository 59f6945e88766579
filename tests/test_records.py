"""Records of caches: right or missing, whatever happens to their files."""

from __future__ import annotations

import ast
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topcoat
from topcoat.records import Cache, caches_unread, format_map, parse_map

CACHE = Cache("letters", 1)


def body_of(key: str, cache: Cache = CACHE) -> bytes | None:
    return cache.read(key, bytes)


@given(st.text(max_size=20), st.binary(max_size=100))
def test_a_record_is_read_back_as_it_was_written(key: str, body: bytes) -> None:
    CACHE.write(key, body)
    assert body_of(key) == body


def test_a_json_value_is_read_back_as_it_was_written() -> None:
    CACHE.write_json("a", {"b": ["\udcff", 1, None]})
    assert CACHE.read_json("a", dict) == {"b": ["\udcff", 1, None]}


@given(st.dictionaries(st.binary(max_size=9), st.binary(max_size=9)))
def test_a_map_is_read_back_as_it_was_written(values: dict[bytes, bytes]) -> None:
    assert parse_map(format_map(values)) == values


def test_a_key_without_a_record_is_missing() -> None:
    CACHE.write("a", b"body")
    assert body_of("b") is None


@given(st.data())
def test_a_record_that_is_damaged_anywhere_is_dropped(data: st.DataObject) -> None:
    CACHE.write("key", b"a body of some length")
    path = CACHE.path("key")
    good = path.read_bytes()
    how = data.draw(st.sampled_from(["cut", "flip", "append", "replace"]))
    if how == "cut":
        bad = good[: data.draw(st.integers(0, len(good) - 1))]
    elif how == "flip":
        at = data.draw(st.integers(0, len(good) - 1))
        bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    elif how == "append":
        bad = good + data.draw(st.binary(min_size=1))
    else:
        bad = data.draw(st.binary())
    path.write_bytes(bad)
    assert body_of("key") is None


def test_a_record_of_another_key_cache_or_version_is_dropped() -> None:
    for other in (CACHE._replace(version=2), CACHE._replace(name="digits")):
        other.write("key", b"body")
        data = other.path("key").read_bytes()
        CACHE.write("key", b"mine")
        CACHE.path("key").write_bytes(data)
        assert body_of("key") is None
    CACHE.write("a", b"body")
    CACHE.path("a").rename(CACHE.path("b"))
    assert body_of("b") is None


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, RecursionError, StopIteration])
def test_a_record_that_cannot_be_parsed_is_dropped(error: type[Exception]) -> None:
    def parse(body: bytes) -> bytes:
        raise error

    CACHE.write("key", b"body")
    assert CACHE.read("key", parse) is None


def test_a_record_that_is_no_regular_file_is_dropped() -> None:
    path = CACHE.path("key")
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert body_of("key") is None
    path.unlink()
    path.mkdir()
    assert body_of("key") is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_record_of_another_user_is_dropped() -> None:
    CACHE.write("key", b"body")
    os.chown(CACHE.path("key"), 12345, 12345)
    assert body_of("key") is None
    CACHE.write("key", b"body")
    assert body_of("key") == b"body"


def test_a_record_is_readable_by_its_owner_only() -> None:
    before = os.umask(0)
    try:
        CACHE.write("key", b"body")
    finally:
        os.umask(before)
    assert stat.S_IMODE(CACHE.path("key").stat().st_mode) == 0o600


def test_unread_caches_are_still_written() -> None:
    CACHE.write("key", b"old")
    with caches_unread():
        assert body_of("key") is None
        CACHE.write("key", b"new")
    assert body_of("key") == b"new"


def test_every_cache_is_written_in_this_format() -> None:
    source = Path(topcoat.__file__).parent
    users = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "topcoat.state"
        if any(alias.name == "write_cache" for alias in node.names)
    }
    assert users == {"records.py"}
