"""Read the RE2 expressions that ignore patterns stand for, and say the same in Python's ``re``.

The matcher of the container builders turns a pattern into an expression for Go's ``regexp`` without
looking inside: what a user puts after a backslash or between brackets is read by RE2. So ``\\d`` is a
digit, ``[[:alpha:]]`` a letter, and ``[*]`` not what it looks like. This module reads that RE2 text with
RE2's rules, as documented by Go's ``regexp/syntax``; groups of the user's own cannot occur in it.

Go takes each byte that is not UTF-8 for one U+FFFD. In Python such a byte of a file name is one character
of U+DC80..U+DCFF (``surrogateescape``), so these are treated as U+FFFD wherever an expression is
concerned.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

Ranges = list[tuple[int, int]]

_LAST = 0x10FFFF
_REPLACEMENT = 0xFFFD
_UNDECODED = (0xDC80, 0xDCFF)
_MOST_REPEATS = 1000
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


class Piece(NamedTuple):
    """One element of an expression.

    Attributes:
        source: the element as Python ``re`` source, for use with ``re.ASCII``.
        single: it matches exactly one character, and never a slash.
        counts: its repeat counts, the outermost first; RE2 bounds their product.
    """

    source: str
    single: bool = False
    counts: tuple[int, ...] = ()


TREE = Piece("(?:.*/|)")
STAR = Piece("[^/]*")
TAIL = Piece(".*")
BEGIN = Piece(r"\A")
END = Piece(r"\Z")

# What the wildcards of a pattern become; no other parenthesis, dot or repeated class is the pattern's own.
_REPEATED = {"(.*/)?": TREE, "[^/]*": STAR, ".*": TAIL}
_REPEATED_START = re.compile("|".join(map(re.escape, _REPEATED)))


def parse(expression: str) -> list[list[Piece]]:
    """Read *expression*, which holds no surrogates: its alternatives, each a sequence of pieces.

    Raises:
        ValueError: Go's ``regexp.Compile`` would refuse the expression; the message says why.
    """
    alternatives: list[list[Piece]] = [[]]
    at = 0
    repeated = False
    while at < len(expression):
        pieces = alternatives[-1]
        char = expression[at]
        was_repeated, repeated = repeated, False
        if wildcard := _REPEATED_START.match(expression, at):
            pieces.append(_REPEATED[wildcard[0]])
            at, repeated = wildcard.end(), True
        elif count := _COUNT.match(expression, at):
            if was_repeated or not pieces:
                raise ValueError(f"{count[0]} has nothing to repeat; \\{{ is a brace")
            pieces[-1] = _repeat(pieces[-1], count)
            at, repeated = count.end(), True
        elif char == "[":
            piece, at = _class(expression, at)
            if expression.startswith("*", at):
                piece, at, repeated = Piece(piece.source + "*"), at + 1, True
            pieces.append(piece)
        elif char == "\\":
            at = _backslash(expression, at, pieces)
        elif char == "|":
            alternatives.append([])
            at += 1
        else:
            pieces.append(BEGIN if char == "^" else END if char == "$" else _literal(char))
            at += 1
    return alternatives


def _repeat(piece: Piece, count: re.Match[str]) -> Piece:
    """Repeat *piece*, within RE2's bounds: 1000 for a count, and for a product of counts."""
    least = int(count[1])
    most = int(count[3]) if count[3] else None if count[2] else least
    bound = least if most is None else most
    counts = ((bound,) if bound or most == 0 else ()) + piece.counts
    room = _MOST_REPEATS
    for number in counts if max(least, bound) > 1 else ():
        if number == 0:
            break
        room //= number
    if least > bound or room == 0:
        raise ValueError(f"{count[0]} is no way to repeat; \\{{ is a brace")
    return Piece(f"(?:{piece.source}){{{least},{'' if most is None else most}}}", counts=counts)


def _backslash(expression: str, at: int, pieces: list[Piece]) -> int:
    letter = expression[at + 1]
    if letter in _ASSERTIONS:
        pieces.append(Piece(_ASSERTIONS[letter]))
        return at + 2
    if letter == "Q":
        quoted, _, rest = expression[at + 2 :].partition(r"\E")
        pieces.extend(map(_literal, quoted))
        return len(expression) - len(rest)
    if group := _GROUP.match(expression, at):
        pieces.append(_set(_members(group), negated=False))
        return group.end()
    code, at = _escape(expression, at)
    pieces.append(_literal(chr(code)))
    return at


def _literal(char: str) -> Piece:
    if ord(char) == _REPLACEMENT:
        return _set([(_REPLACEMENT, _REPLACEMENT)], negated=False)
    return Piece(re.escape(char), char != "/")


def _class(expression: str, start: int) -> tuple[Piece, int]:
    """Read the bracket expression at *start*; a ``]`` that comes first is a member."""
    at = start + 1
    negated = expression.startswith("^", at)
    at += negated
    ranges: Ranges = []
    while not (ranges and expression.startswith("]", at)):
        if expression.startswith("[:", at) and (end := expression.find(":]", at + 2)) >= 0:
            name = expression[at + 2 : end]
            if name.removeprefix("^") not in _CLASSES:
                raise ValueError(f"there is no class [:{name}:]")
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
                    raise ValueError(f"the range {expression[first:at]} runs backwards")
            ranges.append((low, high))
    return _set(ranges, negated=negated), at + 1


def _class_char(expression: str, at: int) -> tuple[int, int]:
    if at >= len(expression):
        raise ValueError("a class that starts with [ does not end with ]")
    if expression[at] == "\\":
        return _escape(expression, at)
    return ord(expression[at]), at + 1


def _members(group: re.Match[str]) -> Ranges:
    r"""Return the characters of ``\d``, ``\s``, ``\w``, ``\pL``, ``\p{Lu}`` or of an opposite."""
    perl, letter, name = group.groups()
    if perl:
        members = _PERL[perl.lower()]
        return members if perl.islower() else _complement(members)
    members = _category(name.removeprefix("^").strip("{^}"), group[0])
    return members if letter.islower() != ("^" in name) else _complement(members)


def _escape(expression: str, at: int) -> tuple[int, int]:
    """Read the backslash escape at *at*: the character it stands for, and where it ends."""
    if number := _NUMBER.match(expression, at):
        octal, digits = number.groups()
        code = int(octal, 8) if octal else int(digits.strip("{}"), 16)
        if code > _LAST or 0xD800 <= code <= 0xDFFF:
            raise ValueError(f"{number[0]} is not a character")
        return code, number.end()
    char = expression[at + 1 : at + 2]
    if char in _CONTROL:
        return _CONTROL[char], at + 2
    if not char or not char.isascii() or char.isalnum():
        raise ValueError(f"\\{char} is not an escape")
    return ord(char), at + 2


def _category(name: str, written: str) -> Ranges:
    """Return the characters of a general category (``L`` or ``Lu``), by the Unicode tables of this Python."""
    folded = re.sub("[-_ ]", "", name).capitalize()
    members = [pair for key, pairs in _categories().items() if folded in (key, key[0]) for pair in pairs]
    if not members or not name.isascii():
        raise ValueError(f"{written} is not a general category of Unicode, and no others are supported")
    return sorted(members)


@cache
def _categories() -> dict[str, Ranges]:
    import unicodedata

    keys = [unicodedata.category(chr(code)) for code in range(_LAST + 1)]
    starts = [0, *(code for code in range(1, len(keys)) if keys[code] != keys[code - 1])]
    found: dict[str, Ranges] = {}
    for first, after in zip(starts, [*starts[1:], len(keys)], strict=True):
        found.setdefault(keys[first], []).append((first, after - 1))
    return found


def _complement(ranges: Ranges) -> Ranges:
    """Return what *ranges*, which are sorted and apart, leave out."""
    starts = [0, *(high + 1 for _, high in ranges)]
    ends = [*(low - 1 for low, _ in ranges), _LAST]
    return [(low, high) for low, high in zip(starts, ends, strict=True) if low <= high]


def _set(ranges: Ranges, *, negated: bool) -> Piece:
    """Return the class of *ranges*, with undecodable bytes on the side of U+FFFD."""
    parts = [(low, min(high, 0xD7FF)) for low, high in ranges] + [(max(low, 0xE000), high) for low, high in ranges]
    if any(low <= _REPLACEMENT <= high for low, high in ranges):
        parts.append(_UNDECODED)
    members = "".join(
        f"\\U{low:08x}" if low == high else f"\\U{low:08x}-\\U{high:08x}" for low, high in parts if low <= high
    )
    slash = any(low <= ord("/") <= high for low, high in ranges)
    if not members:
        return Piece("(?s:.)" if negated else "(?!)")
    return Piece(f"[{'^' if negated else ''}{members}]", slash == negated)
