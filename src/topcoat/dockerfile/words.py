"""The words of one instruction: what each kind of instruction is split into, before anything is expanded."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

# Go's unicode.IsSpace; Python's str.isspace would also take U+001C to U+001F.
SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"

_BLANK = re.compile(r"[\t\v\f\r ]+")
_SURROGATES = re.compile("[\ud800-\udfff]")

_COMMANDS = ("CMD", "ENTRYPOINT", "RUN", "SHELL")
_LISTS = ("ADD", "COPY", "VOLUME")
_PAIRS = ("ENV", "LABEL")
_SPLIT = ("EXPOSE", "FROM")
_WHOLE = ("HEALTHCHECK", "MAINTAINER", "ONBUILD", "STOPSIGNAL", "USER", "WORKDIR")
INSTRUCTIONS = frozenset(("ARG", *_COMMANDS, *_LISTS, *_PAIRS, *_SPLIT, *_WHOLE))


class Words(NamedTuple):
    """An instruction's name in upper case, its flags, its words, and whether these were a JSON array."""

    name: str
    flags: tuple[str, ...]
    words: tuple[str, ...]
    is_exec_form: bool


def read_words(text: str, escape: str) -> Words:
    """Read one instruction from its joined lines, or raise ``ValueError``."""
    name, *rest = _BLANK.split(text.strip(SPACE), maxsplit=1)
    name = name.upper()
    remaining, flags = _flags("".join(rest), escape)
    words, is_exec_form = _words(name, remaining.strip(SPACE), escape)
    return Words(name, flags, words, is_exec_form)


def _flags(text: str, escape: str) -> tuple[str, tuple[str, ...]]:
    """Return what follows the flags at the start of *text*, and these without quotes and escapes."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACE:
            at += 1
        if not text.startswith("--", at):
            return text[at:], tuple(flags)
        word, quote = "", ""
        while at < len(text) and (quote or text[at] not in SPACE):
            char = text[at]
            at += 1
            if quote and char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            elif char == escape:
                word += text[at : at + 1]
                at += 1
            else:
                word += char
        if word == "--":
            return text[at:], tuple(flags)
        flags.append(word)


def _words(name: str, rest: str, escape: str) -> tuple[tuple[str, ...], bool]:
    if name in _COMMANDS:
        return _maybe_json(rest, (rest,) if rest else ())
    if name in _LISTS:
        return _maybe_json(rest, _split_at_blanks(rest))
    if name in _PAIRS:
        return _pairs(name, rest, escape), False
    if name in _SPLIT:
        return _split_at_blanks(rest), False
    if name in _WHOLE:
        return ((rest,) if rest else ()), False
    if name == "ARG":
        return quoted_words(rest, escape), False
    return (), False


def _split_at_blanks(rest: str) -> tuple[str, ...]:
    return tuple(_BLANK.split(rest)) if rest else ()


def _maybe_json(rest: str, otherwise: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return the strings of a JSON array, or *otherwise* if *rest* is not one."""
    if not rest.lstrip(SPACE).startswith("["):
        return otherwise, False
    try:
        array: list[Any] = json.loads(rest.strip(SPACE), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return otherwise, False
    if not all(isinstance(word, str) for word in array):
        raise ValueError("when using JSON array syntax, arrays must be comprised of strings only")
    return tuple([_SURROGATES.sub("\ufffd", word) for word in array]), True


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _pairs(name: str, rest: str, escape: str) -> tuple[str, ...]:
    words = quoted_words(rest, escape)
    if not words:
        return ()
    if "=" not in words[0]:
        parts = _BLANK.split(rest, maxsplit=1)
        if len(parts) < 2:
            raise ValueError(f"{name} must have two arguments")
        return tuple(parts)
    pairs: list[str] = []
    for word in words:
        key, given, value = word.partition("=")
        if not given:
            raise ValueError(f"can't find = in {word!r}: it must be of the form name=value")
        pairs += [key, value]
    return tuple(pairs)


def quoted_words(rest: str, escape: str) -> tuple[str, ...]:
    """Split *rest* at spaces that no quote protects; quotes and escapes stay as they are."""
    words: list[str] = []
    word, quote = "", ""
    at = 0
    while at < len(rest):
        char = rest[at]
        at += 1
        if not quote and char in SPACE:
            words += [word] if word else []
            word = ""
            continue
        if char == escape and quote != "'":
            if at == len(rest):
                break
            word += char
            char = rest[at]
            at += 1
        elif quote and char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        word += char
    return (*words, word) if word else tuple(words)
