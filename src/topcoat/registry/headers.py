"""Values of headers that registries send: one parser for each, with limits, for any text."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_MAX_CHALLENGE = 16 * 1024
_MAX_CHALLENGES = 16
# Compiled when the first registry sends a challenge.
_ITEM = r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?"""
_TOKEN = r"[\x21-\x7e]{1,65536}"
_RANGE = r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)"


class Challenge(NamedTuple):
    """One way to authenticate, from a ``WWW-Authenticate`` header; the scheme in lower case."""

    scheme: str
    params: Mapping[str, str]


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Parse ``WWW-Authenticate`` headers, each of which may hold several challenges (RFC 9110 section 11.6.1)."""
    challenges: list[Challenge] = []
    for value in values:
        params: dict[str, str] | None = None
        for match in re.finditer(_ITEM, value[:_MAX_CHALLENGE]):
            name, quoted, bare = match.groups()
            if quoted is None and bare is None:
                params = {}
                challenges.append(Challenge(name.lower(), params))
            elif params is not None:
                params[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return tuple(challenges[:_MAX_CHALLENGES])


def is_token(value: object) -> bool:
    """Tell whether *value* can be sent as a bearer token: visible ASCII, at most 64 KiB."""
    return isinstance(value, str) and bool(re.fullmatch(_TOKEN, value))


def parse_retry_after(value: str) -> float:
    """Return the seconds of a ``Retry-After``, which is a number or a date (RFC 9110 section 10.2.3), 0 if invalid."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:18])
    if not value or len(value) > 64:
        return 0.0
    from email.utils import parsedate_to_datetime

    try:
        date: float = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError):
        return 0.0
    return max(0.0, date - time.time())


def parse_range_start(value: str) -> int | None:
    """Return the first position of a ``Content-Range`` (RFC 9110 section 14.4), None if it is invalid."""
    match = re.fullmatch(_RANGE, value.strip())
    return int(match[1]) if match else None


def parse_range_size(value: str) -> int | None:
    """Return the total size in a ``Content-Range``, None if it is invalid or states none."""
    match = re.fullmatch(_RANGE, value.strip())
    return int(match[2]) if match and match[2] != "*" else None
