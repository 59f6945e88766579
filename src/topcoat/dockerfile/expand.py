"""Variables and quotes in Dockerfiles (Dockerfile reference, *Environment replacement*), with BuildKit's rules.

They are a shell's, by and large: ``$name``, ``${name}``, ``:-  :+  :?`` and the same without the colon for unset alone,
``#  ##  %  %%`` to cut off what a pattern matches, ``/`` and ``//`` to replace it. Unlike in a shell, a name that is
not set is empty, the escape character can be a backtick, and there are no ``[...]`` classes in patterns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# Go's unicode.IsSpace; Python's str.isspace would also take U+001C to U+001F.
SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"

_SPECIAL = frozenset("@*#?-$!0")


class Expansion(NamedTuple):
    """A text with its variables filled in.

    Attributes:
        text: the whole of it.
        words: the same, split at spaces that no quote protects.
        unset: names of variables that were asked for plainly and are not set.
    """

    text: str
    words: tuple[str, ...]
    unset: tuple[str, ...]


class _Piece(NamedTuple):
    """Some text, and whether a space in it separates words."""

    text: str
    splits: bool


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> Expansion:
    """Fill in *variables* and take away quotes and escapes.

    Args:
        text: a word, or words.
        variables: by their names.
        escape: the Dockerfile's escape character.

    Raises:
        ValueError: a quote or brace that is not closed, a bad substitution, or ``${name:?message}`` of one not set.
    """
    reader = _Reader(text, variables, escape)
    pieces = reader.read("")
    return Expansion("".join([piece.text for piece in pieces]), _split(pieces), tuple(reader.unset))


def _split(pieces: list[_Piece]) -> tuple[str, ...]:
    words: list[str] = []
    word = ""
    for text, splits in pieces:
        if not splits:
            word += text
            continue
        for char in text:
            if char not in SPACE:
                word += char
            elif word:
                words.append(word)
                word = ""
    return (*words, word) if word else tuple(words)


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str, variables: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._raw_escapes = False
        self.unset: list[str] = []

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def read(self, stop: str, *, raw_escapes: bool | None = None, pattern: bool = False) -> list[_Piece]:
        """Read up to *stop*, or to the end where that is empty; *pattern* keeps escapes in quotes as such."""
        before, self._raw_escapes = self._raw_escapes, self._raw_escapes if raw_escapes is None else raw_escapes
        try:
            return self._read(stop, pattern)
        finally:
            self._raw_escapes = before

    def _read(self, stop: str, pattern: bool) -> list[_Piece]:
        pieces: list[_Piece] = []
        while char := self._peek():
            if char == stop:
                self._at += 1
                return pieces
            if char == "$":
                pieces.append(_Piece(self._dollar(), True))
            elif char == "'":
                pieces.append(_Piece(self._single(pattern), False))
            elif char == '"':
                pieces.append(_Piece(self._double(pattern), False))
            elif self._next() != self._escape:
                pieces.append(_Piece(char, True))
            else:
                escaped = self._next()
                pieces.append(_Piece((char if self._raw_escapes else "") + escaped, False))
        if stop:
            raise ValueError(f"unexpected end of statement while looking for matching {stop}")
        return pieces

    def _single(self, pattern: bool) -> str:
        self._at += 1
        end = self._text.find("'", self._at)
        if end < 0:
            raise ValueError("unexpected end of statement while looking for matching single-quote")
        inner = self._text[self._at : end]
        self._at = end + 1
        if pattern:
            inner = inner.replace(self._escape, self._escape * 2)
        return inner

    def _double(self, pattern: bool) -> str:
        self._at += 1
        parts: list[str] = []
        while char := self._peek():
            if char == "$":
                parts.append(self._dollar())
                continue
            self._at += 1
            if char == '"':
                return "".join(parts)
            if char == self._escape:
                following = self._peek()
                if not following:
                    continue
                if following in ('"', "$", self._escape):
                    parts.append(char if self._raw_escapes else "")
                    self._at += 1
                    char = following
                elif self._raw_escapes:
                    parts.append(char)
            parts.append(char)
        raise ValueError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._value(name) if name else "$"
        self._at += 1
        if not self._peek():
            raise ValueError("syntax error: missing '}'")
        if self._peek() in ("{", "}", ":"):
            raise ValueError("syntax error: bad substitution")
        name = self._name()
        modifier = self._next()
        if modifier == "}":
            return self._value(name)
        if modifier == "/":
            return self._replaced(name)
        colon = modifier == ":"
        if colon:
            modifier = self._next()
        if not modifier or modifier not in "+-?#%" or (colon and modifier in "#%"):
            raise ValueError(f"unsupported modifier ({':' if colon else ''}{modifier}) in substitution")
        cuts = modifier in "#%"
        word = self._operand("}", raw_escapes=cuts, pattern=cuts)
        return _modified(name, self._variables.get(name), modifier, word, colon)

    def _value(self, name: str) -> str:
        value = self._variables.get(name)
        if value is None:
            self.unset.append(name)
        return value or ""

    def _operand(self, stop: str, *, raw_escapes: bool, pattern: bool = False) -> str:
        try:
            return "".join([piece.text for piece in self.read(stop, raw_escapes=raw_escapes, pattern=pattern)])
        except ValueError:
            if self._at >= len(self._text):
                raise ValueError(f"syntax error: missing '{stop}' in ${{}}") from None
            raise

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._at += 1
        pattern = self._operand("/", raw_escapes=True, pattern=True)
        replacement = self._operand("}", raw_escapes=True)
        value = self._variables.get(name)
        expression = _expression(pattern, greedy=True)
        parts, end = [], -1
        value = value or ""
        for match in expression.finditer(value):
            # Nothing is found once more where something has just been replaced.
            if match.start() == match.end() == end:
                continue
            parts += [value[max(end, 0) : match.start()], replacement]
            end = match.end()
            if not everywhere:
                break
        return "".join([*parts, value[max(end, 0) :]])

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif first and first in _SPECIAL:
            self._at += 1
        else:
            while (char := self._peek()) and (char.isalpha() or char.isdecimal() or char == "_"):
                self._at += 1
        return self._text[start : self._at]


def _modified(name: str, value: str | None, modifier: str, word: str, colon: bool) -> str:
    """Return what ``${name<modifier>word}`` stands for; *colon*: empty counts as unset."""
    if modifier in "#%":
        return _cut(value or "", modifier, word)
    there = value is not None and (bool(value) or not colon)
    if modifier == "+":
        return word if there else ""
    if there:
        return value or ""
    if modifier == "?":
        raise ValueError(f"{name}: {word or ('is not allowed to be ' + ('unset' if value is None else 'empty'))}")
    return word


def _cut(value: str, modifier: str, word: str) -> str:
    greedy = word.startswith(modifier)
    pattern = word[greedy:]
    if modifier == "#":
        match = _expression(pattern, greedy=greedy).match(value)
        return value[match.end() :] if match else value
    # The shortest end is the shortest beginning of what is read backwards.
    match = _expression(_reversed(pattern), greedy=greedy).match(value[::-1])
    return value[: len(value) - match.end()] if match else value


def _reversed(pattern: str) -> str:
    """Return *pattern* for matching backwards: an escaped character stays behind its escape."""
    return "".join(re.findall(r"\\.|.", pattern, re.DOTALL)[::-1])


def _expression(pattern: str, *, greedy: bool) -> re.Pattern[str]:
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            parts.append(".*" if greedy else ".*?")
        elif char == "?":
            parts.append(".")
        elif char == "\\":
            following = pattern[at : at + 1]
            if following in ("}", "/"):
                continue
            if following not in ("*", "?", "\\"):
                raise ValueError(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{following}'")
            parts.append(re.escape(following))
            at += 1
        else:
            parts.append(re.escape(char))
    return re.compile("".join(parts))
