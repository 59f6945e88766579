"""What an instruction must look like, whatever it comes to: its name, its flags, the number of its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from topcoat.dockerfile.parse import BEGINNING, Dockerfile, Instruction, wrong
from topcoat.dockerfile.words import INSTRUCTIONS
from topcoat.errors import InvalidDockerfile

Flags = Mapping[str, "tuple[str, ...]"]
"""Values of flags by their names, without dashes; a switch that is on has the value ``true``."""

_Kind = Literal["text", "texts", "switch"]

_COPYING: dict[str, _Kind] = {"chown": "text", "chmod": "text", "link": "switch", "exclude": "texts"}
_FLAGS: dict[str, dict[str, _Kind]] = {
    "ADD": {**_COPYING, "keep-git-dir": "switch", "checksum": "text", "unpack": "switch"},
    "COPY": {**_COPYING, "from": "text", "parents": "switch"},
    "FROM": {"platform": "text"},
    "HEALTHCHECK": dict.fromkeys(("interval", "timeout", "start-period", "start-interval", "retries"), "text"),
    "RUN": {"mount": "texts", "network": "text", "security": "text", "device": "texts"},
}
# These take no flags, and let some pass.
_LENIENT = ("ARG", "STOPSIGNAL")
_AT_LEAST_ONE = ("ARG", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "VOLUME")
_EXACTLY_ONE = ("MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")


class Stage(NamedTuple):
    """A part of a Dockerfile that begins with ``FROM``.

    Attributes:
        base: what it starts from, as it is written.
        platform: likewise; empty where no platform is named.
        name: in lower case; empty where it has none.
        start: the ``FROM``.
        instructions: those behind it.
    """

    base: str
    platform: str
    name: str
    start: Instruction
    instructions: tuple[Instruction, ...]


def check(dockerfile: Dockerfile) -> tuple[tuple[Instruction, ...], tuple[Stage, ...]]:
    """Return the ``ARG`` instructions ahead of the first stage, and the stages.

    Raises:
        InvalidDockerfile: an instruction that there is not, or not in this place, or not like this.
    """
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for instruction in dockerfile.instructions:
        try:
            flags = check_instruction(instruction)
        except ValueError as error:
            raise wrong(dockerfile.name, instruction.line, str(error), _meant(instruction)) from None
        if instruction.name == "FROM":
            base, name = instruction.words[0], instruction.words[2] if len(instruction.words) > 2 else ""
            stages.append(Stage(base, "".join(flags.get("platform", ())), name.lower(), instruction, ()))
        elif stages:
            stages[-1] = stages[-1]._replace(instructions=(*stages[-1].instructions, instruction))
        elif instruction.name == "ARG":
            arguments.append(instruction)
        else:
            raise wrong(dockerfile.name, instruction.line, "no build stage in current context", BEGINNING)
    if not stages:
        raise InvalidDockerfile(f"{dockerfile.name} has no FROM", hint="add a line FROM $IMAGE, behind ARG IMAGE")
    return tuple(arguments), tuple(stages)


def check_instruction(instruction: Instruction) -> Flags:
    """Return the flags of *instruction*.

    Raises:
        ValueError: it is none, or does not have the words or flags that it needs.
    """
    name, words = instruction.name, instruction.words
    if name not in INSTRUCTIONS:
        raise ValueError(f"unknown instruction: {name}")
    if name in _AT_LEAST_ONE and not words:
        raise ValueError(f"{name} requires at least one argument")
    if name in _EXACTLY_ONE and len(words) != 1:
        raise ValueError(f"{name} requires exactly one argument")
    if name in ("ADD", "COPY") and len(words) < 2:
        raise ValueError(f"{name} requires at least two arguments, sources and a destination")
    if name == "FROM":
        _check_from(words)
    if name in ("ENV", "LABEL") and not all(words[::2]):
        raise ValueError(f"{name} names can not be blank")
    if name == "ARG" and any(word.startswith("=") for word in words):
        raise ValueError("ARG names can not be blank")
    if name == "VOLUME" and not all(word.strip() for word in words):
        raise ValueError("VOLUME specified can not be an empty string")
    flags = {} if name in _LENIENT else parse_flags(instruction.flags, _FLAGS.get(name, {}))
    for source in flags.get("from", ()):
        if "$" in source:
            raise ValueError("variable expansion is not supported for --from: name a stage that is FROM the variable")
    return flags


def parse_flags(written: tuple[str, ...], known: Mapping[str, _Kind]) -> Flags:
    """Read flags.

    Raises:
        ValueError: one is unknown, repeated, or has no fitting value.
    """
    found: dict[str, tuple[str, ...]] = {}
    for flag in written:
        shown, given, value = flag.partition("=")
        name = shown[2:]
        kind = known.get(name)
        if kind is None:
            raise ValueError(f"unknown flag: {shown}")
        if name in found and kind != "texts":
            raise ValueError(f"duplicate flag specified: {shown}")
        if (given and not value and kind == "switch") or (not given and kind != "switch"):
            raise ValueError(f"missing a value on flag: {shown}")
        if kind == "switch" and value.lower() not in ("", "true", "false"):
            raise ValueError(f"expecting boolean value for flag {shown}, not: {value}")
        found[name] = (*found.get(name, ()), (value.lower() or "true") if kind == "switch" else value)
    return found


def _check_from(words: tuple[str, ...]) -> None:
    if len(words) == 3 and words[1].lower() == "as":
        if not _STAGE_NAME.fullmatch(words[2].lower()):
            raise ValueError(
                f"invalid name for build stage: {words[2]!r}, name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise ValueError("FROM requires either one or three arguments")


def _meant(instruction: Instruction) -> str | None:
    """Return a hint for what is misspelt."""
    from difflib import get_close_matches

    close = get_close_matches(instruction.name, INSTRUCTIONS, 1)
    if instruction.name not in INSTRUCTIONS:
        return f"did you mean {close[0]}?" if close else None
    known = _FLAGS.get(instruction.name, {})
    for flag in instruction.flags:
        name = flag.partition("=")[0][2:]
        if name not in known and (near := get_close_matches(name, known, 1)):
            return f"did you mean --{near[0]}?"
    return None
