"""What an instruction must look like: its name, its flags, the number of its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from topcoat.dockerfile.words import INSTRUCTIONS, Words
from topcoat.suggest import did_you_mean

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
# These take no flags, and BuildKit ignores what they have.
_LENIENT = ("ARG", "STOPSIGNAL")
_AT_LEAST_ONE = ("ARG", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "VOLUME")
_EXACTLY_ONE = ("MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")


def check_instruction(instruction: Words) -> Flags:
    """Return the flags of *instruction*; raise ``ValueError`` if it is malformed or does not take them."""
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
    return {} if name in _LENIENT else _parse_flags(instruction.flags, _FLAGS.get(name, {}))


def _parse_flags(words: tuple[str, ...], kinds: Mapping[str, _Kind]) -> Flags:
    flags: dict[str, tuple[str, ...]] = {}
    for word in words:
        shown, has_value, value = word.partition("=")
        name = shown[2:]
        kind = kinds.get(name)
        if kind is None:
            raise ValueError(f"unknown flag: {shown}")
        if name in flags and kind != "texts":
            raise ValueError(f"duplicate flag specified: {shown}")
        if (has_value and not value and kind == "switch") or (not has_value and kind != "switch"):
            raise ValueError(f"missing a value on flag: {shown}")
        if kind == "switch" and value.lower() not in ("", "true", "false"):
            raise ValueError(f"expecting boolean value for flag {shown}, not: {value}")
        flags[name] = (*flags.get(name, ()), (value.lower() or "true") if kind == "switch" else value)
    return flags


def _check_from(words: tuple[str, ...]) -> None:
    if len(words) == 3 and words[1].lower() == "as":
        if not _STAGE_NAME.fullmatch(words[2].lower()):
            raise ValueError(
                f"invalid name for build stage: {words[2]!r}, name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise ValueError("FROM requires either one or three arguments")


def suggest(instruction: Words) -> str | None:
    """Return a hint for a misspelt name or flag."""
    if instruction.name not in INSTRUCTIONS:
        return did_you_mean(instruction.name, INSTRUCTIONS) or None
    kinds = _FLAGS.get(instruction.name, {})
    for word in instruction.flags:
        name = word.partition("=")[0][2:]
        if name not in kinds and (hint := did_you_mean(name, kinds, prefix="--")):
            return hint
    return None
