"""Variables and quotes in Dockerfiles (Dockerfile reference, *Environment replacement*), with BuildKit's rules.

They are mostly those of a shell: ``$name``, ``${name}``, ``${name:-word}`` and ``${name:+word}``, and the same without
the colon, for unset variables only. Unlike in a shell, an unset name is empty, and the escape character can be a
backtick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from topcoat.errors import NeedsBuilder

_SPECIAL = frozenset("@*#?-$!0")
# Of all values that the variables of one scope are replaced by, and of ${a:-${b:-...}}.
MAX_EXPANDED_CHARS = 8 << 20
_MAX_DEPTH = 50


class Scope(dict[str, str]):
    """Variables whose values can be used for a limited number of characters.

    Twenty lines ``ENV A=$A$A`` make a million characters of one.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self._room: int = variables._room if isinstance(variables, Scope) else MAX_EXPANDED_CHARS

    def use(self, name: str) -> str | None:
        """Return the value of a variable, to put it into a text; raise ``ValueError`` beyond the limit."""
        value = self.get(name)
        self._room -= len(value or "")
        if self._room < 0:
            raise ValueError(f"variables make more than {MAX_EXPANDED_CHARS} characters")
        return value


class Expansion(NamedTuple):
    """A text with its variables filled in; *unset* names those without a value and without a default."""

    text: str
    unset: tuple[str, ...]


def expand(text: str, variables: Scope, escape: str = "\\") -> Expansion:
    """Fill in *variables* and remove quotes and escapes; *escape* is the Dockerfile's escape character.

    Raises:
        ValueError: a quote or brace that is not closed, a bad substitution, or a limit.
        NeedsBuilder: a substitution that cuts, replaces or requires something: ``# % / ?``.
    """
    reader = _Reader(text, variables, escape)
    return Expansion(reader.read(""), tuple(reader.unset))


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str, variables: Scope, escape: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._variables = variables
        self._escape = escape
        self.unset: list[str] = []

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def read(self, stop: str) -> str:
        """Read up to *stop*, or to the end if it is empty."""
        parts: list[str] = []
        while char := self._next():
            if char == stop:
                return "".join(parts)
            if char == "$":
                parts.append(self._dollar())
            elif char == "'":
                parts.append(self._single())
            elif char == '"':
                parts.append(self._double())
            else:
                parts.append(self._next() if char == self._escape else char)
        if stop:
            raise ValueError(f"syntax error: missing '{stop}' in ${{}}")
        return "".join(parts)

    def _single(self) -> str:
        start = self._at
        end = self._text.find("'", start)
        if end < 0:
            raise ValueError("unexpected end of statement while looking for matching single-quote")
        self._at = end + 1
        return self._text[start:end]

    def _double(self) -> str:
        parts: list[str] = []
        while char := self._next():
            if char == '"':
                return "".join(parts)
            if char == "$":
                parts.append(self._dollar())
            elif char == self._escape and self._peek() in ('"', "$", self._escape):
                parts.append(self._next())
            else:
                parts.append(char)
        raise ValueError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._value(name) if name else "$"
        self._at += 1
        if not self._peek():
            raise ValueError("syntax error: missing '}'")
        if self._peek() in ("{", "}", ":"):
            raise ValueError("syntax error: bad substitution")
        name, modifier = self._name(), self._next()
        if modifier == "}":
            return self._value(name)
        colon = ":" if modifier == ":" else ""
        modifier = self._next() if colon else modifier
        if modifier in ("-", "+"):
            return self._either(name, modifier, colon)
        if modifier and modifier in ("?" if colon else "?#%/"):
            raise NeedsBuilder(f"the substitution ${{{name}{colon}{modifier}...}}")
        raise ValueError(f"unsupported modifier ({colon}{modifier}) in substitution")

    def _either(self, name: str, modifier: str, colon: str) -> str:
        """Return the value or the word of ``${name:-word}`` or ``${name:+word}``; with a *colon*, empty is unset."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"substitutions are nested more than {_MAX_DEPTH} deep")
        word = self.read("}")
        self._depth -= 1
        value = self._variables.use(name)
        is_set = value is not None and (bool(value) or not colon)
        if modifier == "+":
            return word if is_set else ""
        return value or "" if is_set else word

    def _value(self, name: str) -> str:
        value = self._variables.use(name)
        if value is None:
            self.unset.append(name)
        return value or ""

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
