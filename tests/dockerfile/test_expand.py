"""Variables and quotes, as BuildKit's shell lexer reads them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.dockerfile.expand import expand

VARIABLES = {"x": "value", "empty": "", "path": "/a/b/a.txt", "text": "a b  c", "_1": "under", "0": "zero"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("$x", "value"),
        ("${x}s $x.", "values value."),
        ("$xs", ""),
        ("$", "$"),
        ("a$ b$%", "a$ b$%"),
        ("$0 $_1", "zero under"),
        ("\\$x", "$x"),
        ("\\a\\\\", "a\\"),
        ("end\\", "end"),
        ("'$x'", "$x"),
        ("'\\'", "\\"),
        ('"$x"', "value"),
        ('"\\$x \\" \\\\ \\n"', '$x " \\ \\n'),
        ("\"it's\" 'a\"b'", "it's a\"b"),
        ("${x:-other}", "value"),
        ("${empty:-other}", "other"),
        ("${empty-other}", ""),
        ("${none:-other}${none-more}", "othermore"),
        ("${none:-${x}}", "value"),
        ("${none:-${none:-$x}}", "value"),
        ("${x:+set}${empty:+set}${empty+there}${none+set}", "setthere"),
        ("${x:?wrong}${empty?wrong}", "value"),
        ("${path#/a}", "/b/a.txt"),
        ("${path#*/}", "a/b/a.txt"),
        ("${path##*/}", "a.txt"),
        ("${path%/*}", "/a/b"),
        ("${path%%/*}", ""),
        ("${path%.???}", "/a/b/a"),
        ("${path#nothing}", "/a/b/a.txt"),
        ("${path/a/X}", "/X/b/a.txt"),
        ("${path//a/X}", "/X/b/X.txt"),
        ("${path//\\//:}", ":a:b:a.txt"),
        ("${path/*/X}", "X"),
        ("${path//*/X}", "X"),
        ("${path/./X}", "/a/b/aXtxt"),
        ("${path/a}", None),
        ("${none#a}", ""),
        ("${x:-a'}'b}", "value"),
        ("${none:-a'}'b}", "a}b"),
        ("a < b << c", "a < b << c"),
        ("caf\u00e9 $x", "caf\u00e9 value"),
    ],
)
def test_a_text_expands_to(text: str, expanded: str | None) -> None:
    if expanded is None:
        with pytest.raises(ValueError, match="missing"):
            expand(text, VARIABLES)
    else:
        assert expand(text, VARIABLES).text == expanded


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'open", "single-quote"),
        ('"open', "double-quote"),
        ("${x", "modifier"),
        ("${", "missing"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${x:=y}", "unsupported modifier"),
        ("${x:#y}", "unsupported modifier"),
        ("${x^^}", "unsupported modifier"),
        ("${none:?is needed}", "none: is needed"),
        ("${none?}", "none: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${x#a\\b}", "invalid escape"),
        ("${x:-open", "missing"),
    ],
)
def test_what_cannot_be_expanded_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        expand(text, VARIABLES)


def test_the_escape_character_can_be_a_backtick() -> None:
    assert expand("C:\\dir`$x $x", VARIABLES, "`").text == "C:\\dir$x value"


def test_a_variable_without_value_is_told() -> None:
    assert expand("$none ${gone} ${none:-x} $x", VARIABLES).unset == ("none", "gone")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc ", ("a", "b", "c")),
        ("$text", ("a", "b", "c")),
        ('"$text" x', ("a b  c", "x")),
        ("a\\ b 'c d'", ("a b", "c d")),
        ("$empty ''", ()),
    ],
)
def test_words_are_split_behind_the_expansion(text: str, words: tuple[str, ...]) -> None:
    assert expand(text, VARIABLES).words == words


@given(st.text(alphabet="ax_0 '\"\\${}:-+?#%/<*", max_size=24))
def test_no_text_does_anything_else_than_expand_or_be_refused(text: str) -> None:
    try:
        found = expand(text, VARIABLES)
    except ValueError:
        return
    assert all(found.words)


@given(st.text(alphabet="ab/.-", max_size=12), st.text(alphabet="ab/.?*", max_size=5))
def test_what_is_cut_off_and_what_is_left_are_the_value(value: str, pattern: str) -> None:
    variables = {"v": value}
    for modifier, begins in (("#", False), ("##", False), ("%", True), ("%%", True)):
        left = expand(f"${{v{modifier}{pattern}}}", variables).text
        assert value.startswith(left) if begins else value.endswith(left)
    short, long = (len(expand(f"${{v{modifier}{pattern}}}", variables).text) for modifier in ("%", "%%"))
    assert long <= short


@given(st.text(alphabet="ab $'\"\\", max_size=12))
def test_single_quotes_protect_everything_but_themselves(text: str) -> None:
    protected = text.replace("'", "'\"'\"'")
    assert expand(f"'{protected}'", VARIABLES).text == text
