"""Read a Dockerfile as far as it takes to know which images it builds on (Dockerfile reference, *FROM* and *COPY*)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_ESCAPE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=")
_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})")


class Instruction(NamedTuple):
    """One instruction: its name in upper case, its flags, and the rest of its words as they are written."""

    name: str
    flags: Mapping[str, str]
    words: tuple[str, ...]


def instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a Dockerfile; the bodies of here-documents are passed over."""
    lines = iter(text.removeprefix("\ufeff").splitlines())
    escape, directives = "\\", True
    for first in lines:
        line = first.strip()
        if directives and _DIRECTIVE.match(line):
            if found := _ESCAPE.fullmatch(line):
                escape = found[1]
            continue
        directives = False
        if not line or line.startswith("#"):
            continue
        while line.endswith(escape):
            # A comment or an empty line inside a continued instruction does not end it.
            more = next((more for more in lines if more.strip() and not more.lstrip().startswith("#")), "")
            line = line[:-1] + " " + more.strip()
        for _, end in _HEREDOC.findall(line):
            for body in lines:
                if body.strip() == end:
                    break
        name, *words = line.split()
        flags = {}
        while words and words[0].startswith("--"):
            key, _, value = words.pop(0)[2:].partition("=")
            flags[key] = value
        yield Instruction(name.upper(), flags, tuple(words))


def external_images(text: str, args: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the images outside the Dockerfile that its stages start from or copy from, each once.

    Args:
        text: the Dockerfile.
        args: build arguments; they count where the Dockerfile declares them before its first ``FROM``.

    Returns:
        None where that cannot be told: a variable that is not known before the build.
    """
    known: dict[str, str] = {}
    stages: set[str] = set()
    found: dict[str, None] = {}
    for instruction in instructions(text):
        if instruction.name == "ARG" and not stages:
            for word in instruction.words:
                key, given, value = word.partition("=")
                default = _expand(value.strip("\"'"), known) if given else None
                chosen = args.get(key, default)
                if chosen is not None:
                    known[key] = chosen
        elif instruction.name == "FROM" and instruction.words:
            image = _expand(instruction.words[0], known)
            if not image:
                return None
            if image not in stages and image != "scratch":
                found[image] = None
            alias = instruction.words[2] if len(instruction.words) > 2 else f"stage {len(stages)}"
            stages.add(alias.lower())
        elif source := instruction.flags.get("from", ""):
            if "$" in source:
                return None
            if source.lower() not in stages and not source.isdecimal():
                found[source] = None
    return tuple(found)


def _expand(text: str, known: Mapping[str, str]) -> str | None:
    """Fill in variables; None where one has no value."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name = match[1] or match[2]
        present = name in known and (known[name] or not (match[3] or "").startswith(":"))
        if (match[3] or "").endswith("+"):
            return match[4] if present else ""
        if present:
            return known[name]
        if match[3]:
            return match[4]
        missing = True
        return ""

    expanded = _VARIABLE.sub(value, text)
    return None if missing else expanded
