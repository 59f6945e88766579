"""Read a Dockerfile into instructions (Dockerfile reference, *Format* and *Parser directives*), as BuildKit does.

Nothing is expanded or carried out here, and what the words of an instruction mean is not checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from topcoat.dockerfile.expand import SPACE
from topcoat.dockerfile.words import quoted_words, read_words
from topcoat.errors import InvalidDockerfile

_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*\Z", re.DOTALL)
_HERE = re.compile(r"\d*<<(-?)([^<]+)")
_DIRECTIVES = ("check", "escape", "syntax")
_LONGEST_LINE = 64 * 1024 - 1

_WITH_HERE_DOCUMENTS = ("ADD", "COPY", "RUN")


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        name: in upper case.
        flags: as they are written, with their dashes, without quotes.
        words: the rest: one word where the instruction takes a text, name and value in turn for ``ENV`` and ``LABEL``.
        exec_form: the words were written as a JSON array.
        has_here_document: lines that follow it are the body of a here-document.
        line: the first of its lines, from 1.
        text: all of it, continued lines joined, without here-documents.
    """

    name: str
    flags: tuple[str, ...]
    words: tuple[str, ...]
    exec_form: bool
    has_here_document: bool
    line: int
    text: str


class Dockerfile(NamedTuple):
    """A Dockerfile that was read.

    Attributes:
        name: for messages.
        instructions: in their order.
        escape: the escape character.
    """

    name: str
    instructions: tuple[Instruction, ...]
    escape: str


BEGINNING = "begin with the two lines ARG IMAGE and FROM $IMAGE"
"""The hint for a Dockerfile that has no stage where it needs one."""


def wrong(name: str, line: int, what: str, hint: str | None = None) -> InvalidDockerfile:
    """Return the error for *what* is wrong in a line of the Dockerfile called *name*."""
    return InvalidDockerfile(f"{name}:{line}: {what}", hint=hint or f"correct line {line} of {name}")


def parse(text: bytes, name: str) -> Dockerfile:
    """Read the Dockerfile *text*; *name* is for messages.

    Raises:
        InvalidDockerfile: with file and line.
    """
    decoded = text.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return _Parser(decoded, name).parse()


def find_syntax(text: bytes) -> str:
    """Return the frontend that a Dockerfile names for itself, without arguments; empty where it names none.

    Behind a ``#!`` line or not, it is a directive, in the style of C too, or a key of a file that is JSON.
    """
    decoded = text.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if decoded.startswith("#!"):
        decoded = decoded.partition("\n")[2]
    for mark in ("#", "//"):
        for line in decoded.split("\n"):
            found = _DIRECTIVE.match(line[len(mark) :].lstrip(SPACE)) if line.startswith(mark) else None
            if not found or found[1].lower() not in _DIRECTIVES:
                break
            if found[1].lower() == "syntax":
                return found[2].partition(" ")[0]
    try:
        document = json.loads(decoded)
    except (ValueError, RecursionError):
        return ""
    named = document.get("syntax") if isinstance(document, dict) else None
    return named if isinstance(named, str) else ""


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        # Only a newline ends a line, and a form feed, say, does not.
        lines = text.split("\n")
        self._lines = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        self._name = name
        self._at = 0
        self._escape = "\\"
        self._in_directives = True
        self._directives: set[str] = set()
        self._continued = _continuation("\\")

    def parse(self) -> Dockerfile:
        instructions = tuple(self._instructions())
        if not instructions:
            raise wrong(self._name, max(self._at, 1), "there are no instructions", BEGINNING)
        return Dockerfile(self._name, instructions, self._escape)

    def _fail(self, what: str, line: int) -> InvalidDockerfile:
        return wrong(self._name, line, what)

    def _next_line(self) -> str:
        line = self._lines[self._at]
        self._at += 1
        if len(line.encode("utf-8", "surrogateescape")) > _LONGEST_LINE:
            raise self._fail(f"the line is longer than {_LONGEST_LINE} bytes", self._at)
        return line

    def _instructions(self) -> Iterator[Instruction]:
        while self._at < len(self._lines):
            line = self._clean(self._next_line().lstrip(SPACE))
            start = self._at
            line, more = self._split(line)
            if not more and not line:
                continue
            while more and self._at < len(self._lines):
                following = self._next_line()
                stripped = following.lstrip(SPACE)
                following = self._clean(following)
                # A comment or an empty line inside a continued instruction does not end it.
                if stripped and not stripped.startswith("#"):
                    following, more = self._split(following)
                    line += following
            yield self._instruction(line, start)

    def _clean(self, line: str) -> str:
        """Take note of a directive; return nothing for a comment, else the line without its end."""
        line = line.rstrip("\r\n")
        self._note_directive(line)
        return "" if line.lstrip(SPACE).startswith("#") else line

    def _note_directive(self, line: str) -> None:
        if not self._in_directives:
            return
        found = _DIRECTIVE.match(line[1:].lstrip(SPACE)) if line.startswith("#") else None
        key = found[1].lower() if found else ""
        if not found or key not in _DIRECTIVES:
            self._in_directives = False
            return
        if key in self._directives:
            raise self._fail(f"only one {key} parser directive can be used", self._at)
        self._directives.add(key)
        if key == "escape":
            if found[2] not in ("\\", "`"):
                raise self._fail(f"invalid escape token {found[2]!r}: it is ` or \\", self._at)
            self._escape = found[2]
            self._continued = _continuation(found[2])

    def _split(self, line: str) -> tuple[str, bool]:
        """Return *line* without the character that continues it, and whether there was one."""
        found = self._continued.search(line)
        return (line[: found.start()], True) if found else (line, False)

    def _instruction(self, text: str, line: int) -> Instruction:
        try:
            found = inner = read_words(text, self._escape)
            if found.name == "ONBUILD" and found.words:
                inner = read_words(found.words[0], self._escape)
        except ValueError as error:
            raise self._fail(str(error), line) from None
        here = inner.name in _WITH_HERE_DOCUMENTS and not inner.exec_form and self._skip_here_documents(text, line)
        return Instruction(*found, here, line, text)

    def _skip_here_documents(self, text: str, line: int) -> bool:
        """Skip the bodies of the here-documents of an instruction; tell whether there are any."""
        # Spaces between << and the name do not end the word.
        words = quoted_words(re.sub(r"<<[\t\r ]+", "<<", text), self._escape) if "<<" in text else ()
        found = [match for word in words if (match := _HERE.fullmatch(word))]
        for match in found:
            name = re.sub(r"\\(.)|['\"]", r"\1", match[2])
            while True:
                if self._at >= len(self._lines):
                    raise self._fail(f"unterminated heredoc: no line is {name}", line)
                ending = self._next_line().rstrip("\r\n")
                if (ending.lstrip("\t") if match[1] else ending) == name:
                    break
        return bool(found)


def _continuation(escape: str) -> re.Pattern[str]:
    """Return what ends a line that is continued: the escape character, unless another one escapes it."""
    mark = re.escape(escape)
    return re.compile(rf"(?:(?<=[^{mark}])|^){mark}[ \t]*\Z")
