"""The automaton matches what ``re`` matches, in time that is linear in the path."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scan.test_ignore_oracle import ATOMS

from topcoat.scan.automaton import Automaton
from topcoat.scan.ignore import IgnoreRules
from topcoat.scan.pattern import Term, _expression, compile_pattern, matcher
from topcoat.scan.re2 import parse

_NAMES = st.sampled_from([*"abcx17 -_.é\n/", "ab", "a/b", "\udcff", "\ufffd", "Q"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=12).map("".join)
_PATTERNS = st.lists(st.sampled_from(ATOMS), min_size=1, max_size=8).map("".join)


@given(_PATTERNS, st.lists(_PATHS, min_size=1, max_size=10))
def test_any_pattern_matches_what_re_matches(pattern: str, paths: list[str]) -> None:
    kind, expression = _expression(pattern)
    try:
        term = compile_pattern(pattern)
    except ValueError:
        return
    if kind != "regex":
        return
    match_re = matcher([Term(term.lead, term.body)])
    automaton = Automaton(tuple(map(tuple, parse(expression))))
    for path in paths:
        assert automaton.matches(path) == bool(match_re(path)), (pattern, path)


@pytest.mark.parametrize(
    "pattern",
    [
        "**/a/**/a/**/a/**/a/**/a/**/a/**/z",
        "**/*a*/**/*a*/**/*a*/**/*a*/**/*a*/**/*z",
        "a**a**a**a**a**a**z",
        "**a**a**a**a**a**a**z",
        "?{0,100}?{0,100}?{0,100}?{0,100}z",
        "*[^b]*[^b]*[^b]*[^b]*[^b]*[^b]*[^b]z",
        "**/b|**/a/**/a/**/a/**/a/**/a/**/z",
    ],
)
def test_many_wildcards_over_deep_directories_take_little_time(pattern: str) -> None:
    rules = IgnoreRules.parse([("ignore", pattern.encode())])
    parts = ["aaa" if number % 2 else "a" for number in range(1000)]
    # As a walk does: each directory on the way down.
    for path in itertools.accumulate(parts[::20], "{}/{}".format):
        assert rules.decide(path, rules.ROOT_STATE) == (False, 0)
    deep = "/".join(parts)
    for path in (deep, deep.replace("/", "")):
        assert not rules.decide(path, rules.ROOT_STATE)[0]
    assert rules.decide("a/" * 40 + "z", rules.ROOT_STATE)[0] is ("[^b]*" not in pattern and "{" not in pattern)


def test_a_pattern_that_repeats_too_much_is_malformed() -> None:
    with pytest.raises(ValueError, match="it repeats too much"):
        compile_pattern("?{1000}" * 200)
