from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import TopcoatError
from topcoat.foreign_text import escaped, parse_json, printable
from topcoat.oci.config import ImageConfig
from topcoat.oci.manifest import parse as parse_manifest
from topcoat.specs import AppState, AppStatus, runopts


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


@pytest.mark.parametrize("text", ["NaN", "Infinity", '{"a": -Infinity}'])
def test_what_only_python_takes_for_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json(text)


def _options(text: str) -> object:
    return runopts().cfg_from_json_repr(text)


def _status(text: str) -> object:
    return repr(AppStatus(AppState.FAILED, structured_error_msg=text))


@pytest.mark.parametrize("parse", [parse_manifest, ImageConfig.parse, _options, _status])
@pytest.mark.parametrize("depth", [200, 900, 200_000])
def test_deep_json_is_a_clear_error_or_text(parse: Callable[[Any], object], depth: int) -> None:
    text = '{"a":' * depth + "1" + "}" * depth
    with suppress(TopcoatError):
        parse(text)
