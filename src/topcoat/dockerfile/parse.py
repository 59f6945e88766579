"""Read a Dockerfile once, as BuildKit does (Dockerfile reference, *Format* and *Parser directives*).

Nothing is expanded or carried out here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from topcoat.dockerfile.check import Flags, check_instruction, suggest
from topcoat.dockerfile.words import SPACE, quoted_words, read_words
from topcoat.errors import InvalidDockerfile

_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*\Z", re.DOTALL)
_HERE = re.compile(r"\d*<<(-?)([^<]+)")
_DIRECTIVES = ("check", "escape", "syntax")
_MAX_LINE = 64 * 1024 - 1
_MAX_INSTRUCTIONS = 10_000
_MAX_SHOWN = 60

_WITH_HERE_DOCUMENTS = ("ADD", "COPY", "RUN")
_BEGINNING = "begin with the two lines ARG IMAGE and FROM $IMAGE"


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        name: in upper case.
        flags: their values, by their names.
        words: the rest: one word if the instruction takes a text; names and values alternate for ``ENV`` and ``LABEL``.
        is_exec_form: the words were written as a JSON array.
        has_here_document: lines that follow it are the body of a here-document.
        line: the first of its lines, from 1.
        text: all of it, continued lines joined, without here-documents.
    """

    name: str
    flags: Flags
    words: tuple[str, ...]
    is_exec_form: bool
    has_here_document: bool
    line: int
    text: str

    def __str__(self) -> str:
        """Return the text, shortened for messages."""
        text = " ".join(self.text.split())
        return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


class Stage(NamedTuple):
    """A part of a Dockerfile: the ``FROM`` that is its start, and the instructions after it.

    Attributes:
        base: the image or stage it starts from, as it is written.
        platform: likewise; empty if no platform is named.
        name: in lower case; empty if it has no name.
    """

    base: str
    platform: str
    name: str
    start: Instruction
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile that was read.

    Attributes:
        name: for messages.
        arguments: the ``ARG`` instructions ahead of the first stage.
        declared_args: names of all build arguments that it declares.
        syntax: the frontend that it names; empty if it names none.
        error: the first mistake. It is kept and not raised: the frontend of another syntax may accept the file.
    """

    name: str
    text: bytes
    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    declared_args: frozenset[str]
    escape: str
    syntax: str
    error: InvalidDockerfile | None

    def wrong(self, instruction: Instruction, message: str, hint: str | None = None) -> InvalidDockerfile:
        """Return the error for a mistake in *instruction*, with file and line."""
        return _wrong(self.name, instruction.line, message, hint)


def parse_dockerfile(text: bytes, name: str) -> Dockerfile:
    """Read the Dockerfile *text*; *name* is for messages."""
    decoded = text.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    parser = _Parser(decoded, name)
    instructions = parser.parse()
    arguments: list[Instruction] = []
    parts: list[tuple[Instruction, list[Instruction]]] = []
    for instruction in instructions:
        if instruction.name == "FROM":
            parts.append((instruction, []))
        elif parts:
            parts[-1][1].append(instruction)
        elif instruction.name == "ARG":
            arguments.append(instruction)
        else:
            parser.note(_wrong(name, instruction.line, "no build stage in current context", _BEGINNING))
    stages = [_stage(start, following) for start, following in parts]
    if not stages:
        parser.note(InvalidDockerfile(f"{name} has no FROM", hint="add a line FROM $IMAGE after ARG IMAGE"))
    declared = {word.partition("=")[0] for line in instructions if line.name == "ARG" for word in line.words}
    return Dockerfile(
        name,
        text,
        tuple(arguments),
        tuple(stages),
        frozenset(declared),
        parser.directives.get("escape", "\\"),
        parser.directives.get("syntax", "").partition(" ")[0],
        parser.error,
    )


def _stage(start: Instruction, following: list[Instruction]) -> Stage:
    words, platform = start.words, "".join(start.flags.get("platform", ()))
    return Stage(words[0], platform, words[2].lower() if words[2:] else "", start, tuple(following))


def _wrong(name: str, line: int, message: str, hint: str | None = None) -> InvalidDockerfile:
    return InvalidDockerfile(f"{name}:{line}: {message}", hint=hint or f"correct line {line} of {name}")


class _Parser:
    """Lines become instructions; the first mistake is kept in ``error``."""

    def __init__(self, text: str, name: str) -> None:
        # Only a newline ends a line, and a form feed, for example, does not.
        lines = text.split("\n")
        self._lines = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        self._name = name
        self._at = 0
        self._escape = "\\"
        self._in_directives = True
        self._continued = _continuation("\\")
        self.directives: dict[str, str] = {}
        self.error: InvalidDockerfile | None = None

    def parse(self) -> list[Instruction]:
        """Return the instructions that are well-formed."""
        instructions: list[Instruction] = []
        try:
            for text, line in self._logical_lines():
                if len(instructions) == _MAX_INSTRUCTIONS:
                    raise _wrong(self._name, line, f"there are more than {_MAX_INSTRUCTIONS} instructions")
                instruction = self._instruction(text, line)
                instructions += [instruction] if instruction else []
        except InvalidDockerfile as error:
            self.note(error)
        if not instructions:
            self.note(_wrong(self._name, max(self._at, 1), "there are no instructions", _BEGINNING))
        return instructions

    def note(self, error: InvalidDockerfile) -> None:
        """Keep *error* if it is the first one."""
        self.error = self.error or error

    def _next_line(self) -> str:
        line = self._lines[self._at]
        self._at += 1
        if len(line.encode("utf-8", "surrogateescape")) > _MAX_LINE:
            raise _wrong(self._name, self._at, f"the line is longer than {_MAX_LINE} bytes")
        return line

    def _logical_lines(self) -> Iterator[tuple[str, int]]:
        """Yield the text of each instruction, and the number of its first line."""
        while self._at < len(self._lines):
            line = self._clean(self._next_line().lstrip(SPACE))
            start = self._at
            line, continues = self._split(line)
            if not continues and not line:
                continue
            while continues and self._at < len(self._lines):
                following = self._next_line()
                stripped = following.lstrip(SPACE)
                following = self._clean(following)
                # A comment or an empty line inside a continued instruction does not end it.
                if stripped and not stripped.startswith("#"):
                    following, continues = self._split(following)
                    line += following
            yield line, start

    def _clean(self, line: str) -> str:
        """Record a directive; return nothing for a comment, else the line without its end."""
        line = line.rstrip("\r\n")
        if self._in_directives:
            self._note_directive(line)
        return "" if line.lstrip(SPACE).startswith("#") else line

    def _note_directive(self, line: str) -> None:
        match = _DIRECTIVE.match(line[1:].lstrip(SPACE)) if line.startswith("#") else None
        key = match[1].lower() if match else ""
        if not match or key not in _DIRECTIVES:
            self._in_directives = False
            return
        if key in self.directives:
            raise _wrong(self._name, self._at, f"only one {key} parser directive can be used")
        if key == "escape":
            if match[2] not in ("\\", "`"):
                raise _wrong(self._name, self._at, f"invalid escape token {match[2]!r}: choose ` or \\")
            self._escape = match[2]
            self._continued = _continuation(match[2])
        self.directives[key] = match[2]

    def _split(self, line: str) -> tuple[str, bool]:
        """Return *line* without the character that continues it, and whether it had one."""
        match = self._continued.search(line)
        return (line[: match.start()], True) if match else (line, False)

    def _instruction(self, text: str, line: int) -> Instruction | None:
        try:
            words = inner = read_words(text, self._escape)
            if words.name == "ONBUILD" and words.words:
                inner = read_words(words.words[0], self._escape)
        except ValueError as error:
            raise _wrong(self._name, line, str(error)) from None
        here = inner.name in _WITH_HERE_DOCUMENTS and not inner.is_exec_form and self._skip_here_documents(text, line)
        try:
            flags = check_instruction(words)
        except ValueError as error:
            self.note(_wrong(self._name, line, str(error), suggest(words)))
            return None
        return Instruction(words.name, flags, words.words, words.is_exec_form, here, line, text)

    def _skip_here_documents(self, text: str, line: int) -> bool:
        """Skip the bodies of the here-documents of an instruction; tell whether there are any."""
        # Spaces between << and the name do not end the word.
        words = quoted_words(re.sub(r"<<[\t\r ]+", "<<", text), self._escape) if "<<" in text else ()
        announced = [match for word in words if (match := _HERE.fullmatch(word))]
        for match in announced:
            name = re.sub(r"\\(.)|['\"]", r"\1", match[2])
            while True:
                if self._at >= len(self._lines):
                    raise _wrong(self._name, line, f"unterminated heredoc: no line is {name}")
                ending = self._next_line().rstrip("\r\n")
                if (ending.lstrip("\t") if match[1] else ending) == name:
                    break
        return bool(announced)


def _continuation(escape: str) -> re.Pattern[str]:
    """Return what ends a line that is continued: the escape character, unless another one escapes it."""
    mark = re.escape(escape)
    return re.compile(rf"(?:(?<=[^{mark}])|^){mark}[ \t]*\Z")
