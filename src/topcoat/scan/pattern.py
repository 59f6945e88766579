"""One pattern of an ignore file, as the container builders read it.

The grammar is that of ``github.com/moby/patternmatcher``: a pattern without wildcards is compared as it is; one that
only begins or ends with ``**`` by its end or beginning; every other one becomes a regular expression. The expression is
built character by character as there, oddities included, because its meaning is the contract: ``^`` stays an anchor,
``|`` and ``{2}`` keep their meaning, ``[^a]`` matches a slash.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import methodcaller
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from topcoat.scan.automaton import Automaton
    from topcoat.scan.re2 import Element

# Few patterns need these expressions or the re2 module: they are compiled and imported on demand.
_SURROGATE = "[\ud800-\udfff]"
# The grammar of Go's filepath.Match: a character, an escape or a class is an element; stars separate runs of elements.
_NOT_IN_CLASS = r"\ud800-\udfff"
_CLASS_CHAR = rf"(?:[^\\\]\-{_NOT_IN_CLASS}]|\\[^{_NOT_IN_CLASS}])"
_ELEMENT = rf"(?:[^\\\[*]|\\.|\[(?:\^|(?!\^))(?:{_CLASS_CHAR}(?:-{_CLASS_CHAR})?)+\])"
_RUN = rf"(?s)\**(?!\*)({_ELEMENT}*)(?=\*|\Z)"
_CLASS_RANGE = r"(?s)\\?(.)(?:-\\?(.))?"

# Python 3.11 and later have atomic groups. They only make failing matches faster; without them few stars are fast.
_ATOMIC = "?>" if sys.version_info >= (3, 11) else "?:"
_MAX_STARS = 3
_ANYTHING = "(?s:.*)"
# Combinations that `re` may try for a path.
_MAX_WAYS = 1000


class Term(NamedTuple):
    """A pattern, compiled so that many of them can be matched at once.

    Attributes:
        lead: ``re`` source of what may precede *body*; terms with the same lead share it.
        body: ``re`` source of the rest, with its own anchor at the end if it has one.
        undecoded: a test of the path's bytes, for a pattern that starts or ends within a character.
        alternatives: set if ``re`` may take long: what an `Automaton` needs.
        max_slashes: of a path that ``re`` matches fast nevertheless.
    """

    lead: str
    body: str
    undecoded: Callable[[bytes], bool] | None = None
    alternatives: tuple[tuple[Element, ...], ...] = ()
    max_slashes: int = 0


def compile_pattern(pattern: str) -> Term:
    """Compile *pattern*: cleaned, without its ``!``, undecodable bytes as surrogates.

    Raises:
        ValueError: the pattern is malformed; the message is the reason.
    """
    if not _is_well_formed(pattern):
        raise ValueError("a class that is not like [a-z], or a backslash at the end")
    kind, expression = _expression(pattern)
    if kind == "exact":
        return Term("", re.escape(pattern) + r"\Z")
    if kind == "prefix":
        start = pattern[:-2]
        within = re.fullmatch(_SURROGATE, start[-1:])
        return Term("", re.escape(start), methodcaller("startswith", encode(start)) if within else None)
    if kind == "suffix":
        # The first two bytes are cut off even if a byte order mark, which the reader skips, precedes "**".
        end = decode(encode(pattern)[2:])
        if end.startswith("/"):
            return Term(_directories("(?s:.*)", last="/" not in end[1:]), re.escape(end[1:]) + r"\Z")
        within = re.match(_SURROGATE, end)
        return Term(_ANYTHING, re.escape(end) + r"\Z", methodcaller("endswith", encode(end)) if within else None)
    return _compile_expression(expression)


def _compile_expression(expression: str) -> Term:
    from topcoat.scan.re2 import BEGIN, END, STAR, TREE, parse

    alternatives = parse(expression)
    first = alternatives[0]
    if alternatives[1:] or first[0] is not BEGIN:
        term = Term("", "|".join(map(_alternative, alternatives)))
    elif first[1] is not TREE:
        term = Term("", _join(first[1:]))
    else:
        is_name = all(element.single or element in (STAR, END) for element in first[2:])
        term = Term(_directories(".*", last=is_name), _join(first[2:]))
    max_slashes = min(map(_max_slashes, alternatives))
    if max_slashes == sys.maxsize:
        return term
    term = term._replace(alternatives=tuple(map(tuple, alternatives)), max_slashes=max_slashes)
    _automaton(term.alternatives)
    return term


def _max_slashes(elements: list[Element]) -> int:
    """Return how many slashes a path may have for ``re`` to be fast: it tries every combination of ends of ``**``."""
    from topcoat.scan.re2 import BEGIN, END, STAR, TAIL, TREE

    trees, others = int(elements[:1] != [BEGIN]), 0
    previous = None
    for element, following in zip(elements, [*elements[1:], END], strict=True):
        if element in (TREE, TAIL):
            trees += element is not previous and following is not END
        elif element is STAR:
            # It ends at a slash, or where what follows first matches (`_join`); else at any character.
            others += not (following.single or following.source == "/" or following in (STAR, END))
        else:
            others += element.inner is not None
        previous = element
    if _ATOMIC == "?:" and elements.count(STAR) > _MAX_STARS:
        others += 2
    if trees + others < 2:
        return sys.maxsize
    return -1 if others else int(_MAX_WAYS ** (1 / trees))


@lru_cache(maxsize=1024)
def _automaton(alternatives: tuple[tuple[Element, ...], ...]) -> Automaton:
    from topcoat.scan.automaton import Automaton

    return Automaton(alternatives)


def _alternative(elements: list[Element]) -> str:
    """Return one side of a ``|``; without an anchor of its own it matches anywhere in the path."""
    from topcoat.scan.re2 import BEGIN

    return _join(elements[1:]) if elements[:1] == [BEGIN] else _ANYTHING + _join(elements)


def _directories(anything: str, *, last: bool) -> str:
    """Return a lead for the directories above; with *last* a name follows, so only the last slash counts."""
    return f"({_ATOMIC if last else '?:'}{anything}/|)"


def matcher(terms: Iterable[Term]) -> Callable[[str], object]:
    """Return a function whose result is true if any of *terms* matches a path."""
    terms = tuple(terms)
    match = _re_matcher(terms)
    if slow := [term for term in terms if term.alternatives]:
        match_shallow, match_fast = match, _re_matcher([term for term in terms if not term.alternatives])
        automata = [_automaton(term.alternatives) for term in slow]
        max_slashes = min([term.max_slashes for term in slow])

        def match(path: str) -> object:
            if path.count("/") <= max_slashes:
                return match_shallow(path)
            return match_fast(path) or any(automaton.matches(path) for automaton in automata)

    undecoded = [term.undecoded for term in terms if term.undecoded]
    if not undecoded:
        return match
    return lambda path: match(path) or any(test(encode(path)) for test in undecoded)


def _re_matcher(terms: Iterable[Term]) -> Callable[[str], object]:
    groups: dict[str, dict[str, None]] = {}
    for term in terms:
        groups.setdefault(term.lead, {})[term.body] = None
    source = "|".join(f"{lead}(?:{'|'.join(bodies)})" for lead, bodies in groups.items())
    return re.compile(source or "(?!)", re.ASCII).match


def _is_well_formed(pattern: str) -> bool:
    """Check *pattern* as far as Go's ``filepath.Match(pattern, ".")`` does.

    Go stops at the first run of elements between stars that does not match, so ``a*[]b]`` passes and ``*[]b]`` does
    not.
    """
    if "[" not in pattern and "\\" not in pattern:
        return True
    run = re.match(_RUN, pattern)
    if run and _is_dot(run[1]):
        run = re.match(_RUN, pattern[run.end() :])
    return run is not None


def _is_dot(run: str) -> bool:
    """Tell whether *run*, which is well formed, matches ``.`` by itself."""
    if run in (".", "\\.", "?"):
        return True
    if not re.fullmatch(_ELEMENT, run, re.DOTALL) or not run.startswith("["):
        return False
    negated = run.startswith("[^")
    ranges = re.findall(_CLASS_RANGE, run[1 + negated : -1])
    return any(low <= "." <= (high or low) for low, high in ranges) != negated


def _expression(pattern: str) -> tuple[str, str]:
    """Return the kind of *pattern* and, for the kind ``regex``, its RE2 expression."""
    text = pattern if pattern.isascii() else re.sub(_SURROGATE, "\ufffd", pattern).removeprefix("\ufeff")
    kind = "exact"
    parts = ["^"]
    at = 0
    while at < len(text):
        start, char = at, text[at]
        at += 1
        if text.startswith("**", start):
            at += 1 + text.startswith("/", start + 2)
            if at < len(text):
                parts.append("(.*/)?")
                kind = "regex"
            elif kind == "exact":
                kind = "prefix"
            else:
                parts.append(".*")
                kind = "regex"
            if start == 0:
                kind = "suffix"
            continue
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char in ".+()$":
            parts.append("\\" + char)
            continue
        elif char == "\\":
            parts.append(text[start : start + 2])
            at += 1
            if at > len(text):
                continue
        else:
            parts.append(char)
            if char not in "[]":
                continue
        kind = "regex"
    return kind, "".join(parts) + "$"


def _join(elements: list[Element]) -> str:
    """Write *elements* as one expression that backtracks no more than necessary.

    A sequence of "any directories" is the same as one. If the elements between two stars match at a place, no later
    place is better, so the search commits to the first one: many stars stay fast.
    """
    from topcoat.scan.re2 import STAR, TREE

    source: list[str] = []
    held: list[str] = []
    previous = None
    for element in elements:
        if element is TREE and previous is TREE:
            continue
        previous = element
        if element is STAR:
            source += [f"({_ATOMIC}[^/]*?{''.join(held[1:])})"] if held else []
            held = [element.source]
        elif held and element.single:
            held.append(element.source)
        else:
            source += [*held, element.source]
            held = []
    return "".join(source + held)


def encode(text: str) -> bytes:
    """Return the bytes of a path or pattern that `decode` made."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Return *data* as text, bytes that are not UTF-8 as surrogates."""
    return data.decode("utf-8", "surrogateescape")
