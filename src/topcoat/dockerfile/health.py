"""What ``HEALTHCHECK`` comes to (Dockerfile reference, *HEALTHCHECK*)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from topcoat.dockerfile.parse import Instruction

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_PART = re.compile(rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"[-+]?(?:{_NUMBER}(?:ns|us|µs|μs|ms|s|m|h))+")
_PERIODS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def health_check(instruction: Instruction, flags: Mapping[str, tuple[str, ...]]) -> Mapping[str, Any]:
    """Return the image's ``Healthcheck``, times in nanoseconds.

    Raises:
        ValueError: the instruction does not say what it must, or says it wrongly.
    """
    kind, *command = instruction.words
    if kind.upper() == "NONE":
        if command:
            raise ValueError("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if kind.upper() != "CMD":
        raise ValueError(f"unknown type {kind!r} in HEALTHCHECK (try CMD)")
    if not command:
        raise ValueError("missing command after HEALTHCHECK CMD")
    found: dict[str, Any] = {"Test": ["CMD" if instruction.exec_form else "CMD-SHELL", *command]}
    for flag, key in _PERIODS.items():
        for text in flags.get(flag, ()):
            period = _duration(text) if text else 0
            if 0 < period < 10**6 or period < 0:
                raise ValueError(f"interval {flag!r} cannot be less than 1ms")
            found.update({key: period} if period else {})
    for text in flags.get("retries", ()):
        if text and not re.fullmatch(r"[-+]?\d{1,10}", text, re.ASCII):
            raise ValueError(f"--retries is a number, not {text!r}")
        if int(text or 0) < 0:
            raise ValueError(f"--retries cannot be negative ({text})")
        found.update({"Retries": int(text)} if int(text or 0) else {})
    return found


def _duration(text: str) -> int:
    """Return nanoseconds for what Go's ``time.ParseDuration`` reads, such as ``1h30m`` or ``1.5s``."""
    from decimal import Decimal

    if text in ("0", "+0", "-0"):
        return 0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"invalid duration {text!r}: for example 30s or 1m30s")
    total = sum((int(Decimal(number.rstrip(".")) * _UNITS[unit]) for number, unit in _PART.findall(text)), 0)
    return -total if text.startswith("-") else total
