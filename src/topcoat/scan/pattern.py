"""One pattern of an ignore file, as the container builders understand it.

The grammar is that of ``github.com/moby/patternmatcher``: a pattern without wildcards is compared as it
is, one that only begins or ends with ``**`` by its end or beginning, every other one becomes a regular
expression. The expression is built letter by letter as there, oddities included, because its meaning is
the contract: ``^`` stays an anchor, ``|`` and ``{2}`` keep their meaning, ``[^a]`` matches a slash.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from operator import methodcaller
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from topcoat.scan.re2 import Piece

# Patterns rarely need these expressions, or what reads RE2: they are compiled, and that is imported, when one does.
_SURROGATE = "[\ud800-\udfff]"
# The grammar of Go's filepath.Match: a character, an escape or a class is an element, stars separate chunks of them.
_NOT_IN_CLASS = r"\ud800-\udfff"
_CLASS_CHAR = rf"(?:[^\\\]\-{_NOT_IN_CLASS}]|\\[^{_NOT_IN_CLASS}])"
_ELEMENT = rf"(?:[^\\\[*]|\\.|\[(?:\^|(?!\^))(?:{_CLASS_CHAR}(?:-{_CLASS_CHAR})?)+\])"
_CHUNK = rf"(?s)\**(?!\*)({_ELEMENT}*)(?=\*|\Z)"
_CLASS_RANGE = r"(?s)\\?(.)(?:-\\?(.))?"

# Atomic groups came with Python 3.11. Where they are used, only the time of a failing match depends on them.
_ATOMIC = "?>" if sys.version_info >= (3, 11) else "?:"
_ANYTHING = "(?s:.*)"


class Term(NamedTuple):
    """A pattern, compiled so that many of them can be matched at once.

    Attributes:
        lead: what may stand before *body*, as ``re`` source; terms with the same lead share it.
        body: the rest, with its own anchor at the end where it has one.
        undecoded: for a pattern that starts or ends within a character, the test on the path's bytes.
    """

    lead: str
    body: str
    undecoded: Callable[[bytes], bool] | None = None


def compile_pattern(pattern: str) -> Term:
    """Compile *pattern*: cleaned, without its ``!``, undecodable bytes as surrogates.

    Raises:
        ValueError: the pattern is malformed; the message says what is wrong with it.
    """
    if not _well_formed(pattern):
        raise ValueError("a class that is not like [a-z], or a backslash at the end")
    kind, expression = _expression(pattern)
    if kind == "exact":
        return Term("", re.escape(pattern) + r"\Z")
    if kind == "prefix":
        start = pattern[:-2]
        within = re.fullmatch(_SURROGATE, start[-1:])
        return Term("", re.escape(start), methodcaller("startswith", encode(start)) if within else None)
    if kind == "suffix":
        # The first two bytes are cut off even where a byte order mark, which the reader skips, precedes "**".
        end = decode(encode(pattern)[2:])
        if end.startswith("/"):
            return Term(_directories("(?s:.*)", last="/" not in end[1:]), re.escape(end[1:]) + r"\Z")
        within = re.match(_SURROGATE, end)
        return Term(_ANYTHING, re.escape(end) + r"\Z", methodcaller("endswith", encode(end)) if within else None)
    return _compile_expression(expression)


def _compile_expression(expression: str) -> Term:
    from topcoat.scan import re2

    alternatives = re2.parse(expression)
    first = alternatives[0]
    if alternatives[1:] or first[0] is not re2.BEGIN:
        return Term("", "|".join(map(_alternative, alternatives)))
    if first[1] is not re2.TREE:
        return Term("", _join(first[1:]))
    flat = all(piece.single or piece in (re2.STAR, re2.END) for piece in first[2:])
    return Term(_directories(".*", last=flat), _join(first[2:]))


def _alternative(pieces: list[Piece]) -> str:
    """Return one side of a ``|``, which matches anywhere in the path where it has no anchor of its own."""
    from topcoat.scan import re2

    return _join(pieces[1:]) if pieces[:1] == [re2.BEGIN] else _ANYTHING + _join(pieces)


def _directories(anything: str, *, last: bool) -> str:
    """Return a lead for the directories above; *last*: a name follows, so only the last slash counts."""
    return f"({_ATOMIC if last else '?:'}{anything}/|)"


def matcher(terms: Iterable[Term]) -> Callable[[str], object]:
    """Return a function that says (by the truth of its result) whether any of *terms* matches a path."""
    terms = tuple(terms)
    groups: dict[str, dict[str, None]] = {}
    for term in terms:
        groups.setdefault(term.lead, {})[term.body] = None
    source = "|".join(f"{lead}(?:{'|'.join(bodies)})" for lead, bodies in groups.items())
    match = re.compile(source, re.ASCII).match
    undecoded = [term.undecoded for term in terms if term.undecoded]
    if not undecoded:
        return match
    return lambda path: match(path) or any(test(encode(path)) for test in undecoded)


def _well_formed(pattern: str) -> bool:
    """Check *pattern* as far as Go's ``filepath.Match(pattern, ".")`` does.

    That stops at the first run of elements between stars that does not match, so that ``a*[]b]`` passes
    and ``*[]b]`` does not.
    """
    if "[" not in pattern and "\\" not in pattern:
        return True
    chunk = re.match(_CHUNK, pattern)
    if chunk and _is_dot(chunk[1]):
        chunk = re.match(_CHUNK, pattern[chunk.end() :])
    return chunk is not None


def _is_dot(chunk: str) -> bool:
    """Whether *chunk*, which is well formed, matches ``.`` by itself."""
    if chunk in (".", "\\.", "?"):
        return True
    if not re.fullmatch(_ELEMENT, chunk, re.DOTALL) or not chunk.startswith("["):
        return False
    negated = chunk.startswith("[^")
    ranges = re.findall(_CLASS_RANGE, chunk[1 + negated : -1])
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


def _join(pieces: list[Piece]) -> str:
    """Write *pieces* as one expression, with no more back-tracking than needed.

    Repeated "any directories" are the same as one. Between two stars, the first place where the elements in
    between fit is as good as any later one, so the search commits to it: many stars stay cheap.
    """
    from topcoat.scan import re2

    source: list[str] = []
    held: list[str] = []
    previous = None
    for piece in pieces:
        if piece is re2.TREE and previous is re2.TREE:
            continue
        previous = piece
        if piece is re2.STAR:
            source += [f"({_ATOMIC}[^/]*?{''.join(held[1:])})"] if held else []
            held = [piece.source]
        elif held and piece.single:
            held.append(piece.source)
        else:
            source += [*held, piece.source]
            held = []
    return "".join(source + held)


def encode(text: str) -> bytes:
    """Return the bytes of a path or pattern that `decode` made."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Return *data* as text, bytes that are not UTF-8 as surrogates."""
    return data.decode("utf-8", "surrogateescape")
