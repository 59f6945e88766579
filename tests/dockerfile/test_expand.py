"""Variables and quotes, as BuildKit's shell lexer reads them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.dockerfile.expand import MAX_EXPANDED_CHARS, Scope, expand
from topcoat.errors import NeedsBuilder

VARIABLES = Scope({"x": "value", "empty": "", "_1": "under", "0": "zero"})


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
        ("${x:-a'}'b}", "value"),
        ("${none:-a'}'b}", "a}b"),
        ("a < b << c", "a < b << c"),
        ("caf\u00e9 $x", "caf\u00e9 value"),
    ],
)
def test_a_text_expands_to(text: str, expanded: str) -> None:
    assert expand(text, VARIABLES).text == expanded


@pytest.mark.parametrize("text", ["${x:?is needed}", "${x?}", "${x#v}", "${x##v}", "${x%e}", "${x%%e}", "${x/a/b}"])
def test_a_rare_substitution_is_handed_to_a_builder(text: str) -> None:
    with pytest.raises(NeedsBuilder, match=re.escape(f"the substitution {text[:4]}")):
        expand(text, VARIABLES)


@pytest.mark.parametrize(
    ("text", "message"),
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
        ("${x:-open", "missing"),
    ],
)
def test_what_cannot_be_expanded_is_reported(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        expand(text, VARIABLES)


def test_the_escape_character_can_be_a_backtick() -> None:
    assert expand("C:\\dir`$x $x", VARIABLES, "`").text == "C:\\dir$x value"


def test_a_variable_without_value_is_reported() -> None:
    assert expand("$none ${gone} ${none:-x} $x", VARIABLES).unset == ("none", "gone")


@given(st.text(alphabet="ax_0 '\"\\${}:-+?#%/<*", max_size=24))
def test_no_text_does_anything_else_than_expand_or_be_refused(text: str) -> None:
    try:
        expanded = expand(text, VARIABLES)
    except (NeedsBuilder, ValueError):
        return
    assert "none" not in expanded.unset


@given(st.text(alphabet="ab $'\"\\", max_size=12))
def test_single_quotes_protect_everything_but_themselves(text: str) -> None:
    protected = text.replace("'", "'\"'\"'")
    assert expand(f"'{protected}'", VARIABLES).text == text


@pytest.mark.parametrize("depth", [51, 100_000])
def test_substitutions_that_are_nested_too_deep_are_an_error(depth: int) -> None:
    with pytest.raises(ValueError, match="substitutions are nested more than 50 deep"):
        expand("${none:-" * depth + "}" * depth, VARIABLES)
    assert expand("${none:-" * 50 + "x" + "}" * 50, VARIABLES).text == "x"


def test_the_values_of_a_scope_make_a_limited_number_of_characters() -> None:
    scope = Scope({"a": "x" * 1000})
    assert len(expand("$a" * 1000, scope).text) == 1_000_000
    with pytest.raises(ValueError, match=f"variables make more than {MAX_EXPANDED_CHARS} characters"):
        expand("$a" * 8000, scope)
    with pytest.raises(ValueError, match="variables make more than"):
        expand("$a", Scope(scope))
