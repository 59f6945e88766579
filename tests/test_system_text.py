"""Text as the system has it: bytes, in whatever locale."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.system_text import system_bytes, system_text

ENCODINGS = [("utf-8", "surrogateescape"), ("iso8859-1", "surrogateescape"), ("ascii", "surrogateescape")]


@pytest.fixture(params=ENCODINGS, ids=lambda pair: pair[0], scope="module", autouse=True)
def encoding(request: pytest.FixtureRequest) -> pytest.FixtureRequest:
    encoding, errors = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "getfilesystemencoding", lambda: encoding)
        patch.setattr(os, "fsdecode", lambda data: data.decode(encoding, errors))
        yield encoding  # type: ignore[misc]


@given(st.binary())
def test_bytes_stay_the_same(data: bytes) -> None:
    assert system_bytes(os.fsdecode(data)) == data


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_has_bytes_and_its_system_text_has_the_same(text: str) -> None:
    assert system_bytes(system_text(text)) == system_bytes(text)


def test_what_the_locale_lacks_is_utf_8(encoding: str) -> None:
    assert system_bytes("日") == "日".encode()
    assert system_bytes("é") == (b"\xe9" if encoding == "iso8859-1" else "é".encode())
    assert system_bytes("\ud800") == b"\xed\xa0\x80"
