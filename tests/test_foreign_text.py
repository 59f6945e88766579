from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.foreign_text import escaped, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain données 例", "plain données 例"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b2J", "\\x9b2J"),
        ("a\r\nb\tc\0", "a\\x0d\\x0ab\\x09c\\x00"),
        ("exe\u202egnp.", "exe\\u202egnp."),
        ("\u2066\u200f", "\\u2066\\u200f"),
        ("line\u2028break", "line\\u2028break"),
        ("\ud800", "\\ud800"),
        ("caf\udce9", "caf\\xe9"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_controls_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text(st.characters(), max_size=50), st.integers(3, 30))
def test_escaped_text_is_printable_and_within_the_limit(text: str, limit: int) -> None:
    shown = escaped(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    shown.encode()


def test_a_text_of_exactly_the_limit_is_whole() -> None:
    assert escaped("abcde", 5) == "abcde"
    assert escaped("abcdef", 5) == "ab..."


def test_printable_text_keeps_its_lines_and_tabs_and_its_length() -> None:
    assert printable("a\tb\x1b\n\x1b" + "\U000e0041" * 200) == "a\tb\\x1b\n\\x1b" + "\\U000e0041" * 200
