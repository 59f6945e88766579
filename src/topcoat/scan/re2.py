"""Translate the RE2 expressions of ignore patterns into Python's ``re``.

The matcher of the container builders turns a pattern into an expression for Go's ``regexp`` and copies what follows a
backslash or is between brackets: RE2 reads that. So ``\\d`` is a digit, ``[[:alpha:]]`` a letter, and ``[*]`` not what
it looks like. The rules are those of Go's ``regexp/syntax``; an expression cannot hold groups of the user's own.

Go reads each byte that is not UTF-8 as one U+FFFD. In Python such a byte of a file name is one character of
U+DC80..U+DCFF (``surrogateescape``), so expressions treat these as U+FFFD.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

Ranges = list[tuple[int, int]]

_MAX_CODE = 0x10FFFF
_REPLACEMENT = 0xFFFD
_UNDECODED = (0xDC80, 0xDCFF)
_MAX_REPEATS = 1000
_COUNT = re.compile(r"\{(0|[1-9][0-9]*)(?:(,)(0|[1-9][0-9]*)?)?\}")

_CLASSES: dict[str, Ranges] = {
    "alnum": [(0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)],
    "alpha": [(0x41, 0x5A), (0x61, 0x7A)],
    "ascii": [(0x00, 0x7F)],
    "blank": [(0x09, 0x09), (0x20, 0x20)],
    "cntrl": [(0x00, 0x1F), (0x7F, 0x7F)],
    "digit": [(0x30, 0x39)],
    "graph": [(0x21, 0x7E)],
    "lower": [(0x61, 0x7A)],
    "print": [(0x20, 0x7E)],
    "punct": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)],
    "space": [(0x09, 0x0D), (0x20, 0x20)],
    "upper": [(0x41, 0x5A)],
    "word": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "xdigit": [(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
}
_PERL: dict[str, Ranges] = {
    "d": _CLASSES["digit"],
    "s": [(0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)],  # no vertical tab, unlike [[:space:]]
    "w": _CLASSES["word"],
}
_GROUP = re.compile(r"\\(?:([dDsSwW])|([pP])([^{]|\{[^}]*(?:\}|\Z)))", re.DOTALL)
_NUMBER = re.compile(r"\\(?:(0[0-7]{0,2}|[1-7][0-7]{1,2})|x([0-9a-fA-F]{2}|\{[0-9a-fA-F]+\}))")
_CONTROL = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_ASSERTIONS = {"A": r"\A", "b": r"\b", "B": r"\B", "z": r"\Z"}


class Element(NamedTuple):
    """One element of an expression.

    Attributes:
        source: Python ``re`` source, for use with ``re.ASCII``.
        single: whether it matches exactly one character, and never a slash.
        counts: its repeat counts, the outermost first; RE2 limits their product.
        inner: the element that it repeats, from *least* to *most* times; None for no limit.
        is_assertion: whether it matches no character.
    """

    source: str
    single: bool = False
    counts: tuple[int, ...] = ()
    inner: Element | None = None
    least: int = 1
    most: int | None = 1
    is_assertion: bool = False


TREE = Element("(?:.*/|)")
STAR = Element("[^/]*")
TAIL = Element(".*")
BEGIN = Element(r"\A", is_assertion=True)
END = Element(r"\Z", is_assertion=True)

# The expressions of the wildcards. No other parenthesis, dot or repeated class of an expression is the user's.
_REPEATED = {"(.*/)?": TREE, "[^/]*": STAR, ".*": TAIL}
_REPEATED_START = re.compile("|".join(map(re.escape, _REPEATED)))


def parse(expression: str) -> list[list[Element]]:
    """Read *expression*, which holds no surrogates; return its alternatives, each a sequence of elements.

    Raises:
        ValueError: Go's ``regexp.Compile`` would refuse the expression; the message is the reason.
    """
    alternatives: list[list[Element]] = [[]]
    at = 0
    repeated = False
    while at < len(expression):
        elements = alternatives[-1]
        char = expression[at]
        was_repeated, repeated = repeated, False
        if wildcard := _REPEATED_START.match(expression, at):
            elements.append(_REPEATED[wildcard[0]])
            at, repeated = wildcard.end(), True
        elif count := _COUNT.match(expression, at):
            if was_repeated or not elements:
                raise ValueError(f"{count[0]} has nothing to repeat; write \\{{ for a literal brace")
            elements[-1] = _repeat(elements[-1], count)
            at, repeated = count.end(), True
        elif char == "[":
            element, at = _class(expression, at)
            if expression.startswith("*", at):
                element = Element(element.source + "*", inner=element, least=0, most=None)
                at, repeated = at + 1, True
            elements.append(element)
        elif char == "\\":
            at = _backslash(expression, at, elements)
        elif char == "|":
            alternatives.append([])
            at += 1
        else:
            elements.append(BEGIN if char == "^" else END if char == "$" else _literal(char))
            at += 1
    return alternatives


def _repeat(element: Element, count: re.Match[str]) -> Element:
    """Repeat *element*, within RE2's limit of 1000 for a count and for a product of counts."""
    least = int(count[1])
    most = int(count[3]) if count[3] else None if count[2] else least
    bound = least if most is None else most
    counts = ((bound,) if bound or most == 0 else ()) + element.counts
    room = _MAX_REPEATS
    for number in counts if max(least, bound) > 1 else ():
        if number == 0:
            break
        room //= number
    if least > bound or room == 0:
        raise ValueError(f"invalid repeat count {count[0]}; write \\{{ for a literal brace")
    source = f"(?:{element.source}){{{least},{'' if most is None else most}}}"
    return Element(source, False, counts, element, least, most)


def _backslash(expression: str, at: int, elements: list[Element]) -> int:
    letter = expression[at + 1]
    if letter in _ASSERTIONS:
        elements.append(Element(_ASSERTIONS[letter], is_assertion=True))
        return at + 2
    if letter == "Q":
        quoted, _, rest = expression[at + 2 :].partition(r"\E")
        elements.extend(map(_literal, quoted))
        return len(expression) - len(rest)
    if group := _GROUP.match(expression, at):
        elements.append(_set(_members(group), negated=False))
        return group.end()
    code, at = _escape(expression, at)
    elements.append(_literal(chr(code)))
    return at


def _literal(char: str) -> Element:
    if ord(char) == _REPLACEMENT:
        return _set([(_REPLACEMENT, _REPLACEMENT)], negated=False)
    return Element(re.escape(char), char != "/")


def _class(expression: str, start: int) -> tuple[Element, int]:
    """Read the bracket expression at *start*; a ``]`` that comes first is a member."""
    at = start + 1
    negated = expression.startswith("^", at)
    at += negated
    ranges: Ranges = []
    while not (ranges and expression.startswith("]", at)):
        if expression.startswith("[:", at) and (end := expression.find(":]", at + 2)) >= 0:
            name = expression[at + 2 : end]
            if name.removeprefix("^") not in _CLASSES:
                raise ValueError(f"unknown class [:{name}:]")
            members = _CLASSES[name.removeprefix("^")]
            ranges += _complement(members) if name.startswith("^") else members
            at = end + 2
        elif group := _GROUP.match(expression, at):
            ranges += _members(group)
            at = group.end()
        else:
            first = at
            low, at = _class_char(expression, at)
            high = low
            if expression.startswith("-", at) and not expression.startswith("]", at + 1):
                high, at = _class_char(expression, at + 1)
                if high < low:
                    raise ValueError(f"invalid range {expression[first:at]}: the end is before the start")
            ranges.append((low, high))
    return _set(ranges, negated=negated), at + 1


def _class_char(expression: str, at: int) -> tuple[int, int]:
    if at >= len(expression):
        raise ValueError("a class starts with [ and does not end with ]")
    if expression[at] == "\\":
        return _escape(expression, at)
    return ord(expression[at]), at + 1


def _members(group: re.Match[str]) -> Ranges:
    r"""Return the characters of ``\d``, ``\s``, ``\w``, ``\pL``, ``\p{Lu}`` or of a complement."""
    perl, letter, name = group.groups()
    if perl:
        members = _PERL[perl.lower()]
        return members if perl.islower() else _complement(members)
    members = _category(name.removeprefix("^").strip("{^}"), group[0])
    return members if letter.islower() != ("^" in name) else _complement(members)


def _escape(expression: str, at: int) -> tuple[int, int]:
    """Read the backslash escape at *at*; return its character, and where it ends."""
    if number := _NUMBER.match(expression, at):
        octal, digits = number.groups()
        code = int(octal, 8) if octal else int(digits.strip("{}"), 16)
        if code > _MAX_CODE or 0xD800 <= code <= 0xDFFF:
            raise ValueError(f"invalid character {number[0]}")
        return code, number.end()
    char = expression[at + 1 : at + 2]
    if char in _CONTROL:
        return _CONTROL[char], at + 2
    if not char or not char.isascii() or char.isalnum():
        raise ValueError(f"invalid escape \\{char}")
    return ord(char), at + 2


def _category(name: str, written: str) -> Ranges:
    """Return the characters of a general category (``L`` or ``Lu``), by this Python's Unicode tables."""
    folded = re.sub("[-_ ]", "", name).capitalize()
    members = [pair for key, pairs in _categories().items() if folded in (key, key[0]) for pair in pairs]
    if not members or not name.isascii():
        raise ValueError(f"unknown class {written}: expected a general category of Unicode")
    return sorted(members)


@cache
def _categories() -> dict[str, Ranges]:
    import unicodedata

    keys = [unicodedata.category(chr(code)) for code in range(_MAX_CODE + 1)]
    starts = [0, *(code for code in range(1, len(keys)) if keys[code] != keys[code - 1])]
    found: dict[str, Ranges] = {}
    for first, after in zip(starts, [*starts[1:], len(keys)], strict=True):
        found.setdefault(keys[first], []).append((first, after - 1))
    return found


def _complement(ranges: Ranges) -> Ranges:
    """Return the characters that are not in *ranges*, which are sorted and do not touch."""
    starts = [0, *(high + 1 for _, high in ranges)]
    ends = [*(low - 1 for low, _ in ranges), _MAX_CODE]
    return [(low, high) for low, high in zip(starts, ends, strict=True) if low <= high]


def _set(ranges: Ranges, *, negated: bool) -> Element:
    """Return the class of *ranges*; undecodable bytes count as U+FFFD."""
    parts = [(low, min(high, 0xD7FF)) for low, high in ranges] + [(max(low, 0xE000), high) for low, high in ranges]
    if any(low <= _REPLACEMENT <= high for low, high in ranges):
        parts.append(_UNDECODED)
    members = "".join(
        f"\\U{low:08x}" if low == high else f"\\U{low:08x}-\\U{high:08x}" for low, high in parts if low <= high
    )
    slash = any(low <= ord("/") <= high for low, high in ranges)
    if not members:
        return Element("(?s:.)" if negated else "(?!)")
    return Element(f"[{'^' if negated else ''}{members}]", slash == negated)
