"""Text that others wrote (registries, proxies, file names): show it and parse it safely."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MAX_SHOWN = 500
MAX_JSON_DEPTH = 100


def escaped(text: str, limit: int = MAX_SHOWN) -> str:
    r"""Return *text* in printable characters, cut to *limit* of them.

    Whatever may move the cursor, change colours or reorder the line is written as ``\xNN``, ``\uNNNN`` or
    ``\UNNNNNNNN``: control characters (newlines too), invisible and bidirectional formatting, lone surrogates.
    A byte that the file system's encoding could not decode (``surrogateescape``) is ``\xNN`` again.
    """
    # Escaping never shortens, so a long text need not be escaped whole.
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else _escape(ord(char)) for char in shown)
    return shown if len(shown) <= limit else f"{shown[: max(0, limit - 3)]}..."


def printable(text: str) -> str:
    """Return the whole of *text*, escaped, except for its newlines and tabs."""
    if text.isprintable():
        return text
    whole = len(text) * len(r"\UNNNNNNNN")
    return "\n".join(["\t".join([escaped(cell, whole) for cell in line.split("\t")]) for line in text.split("\n")])


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def parse_json(data: bytes | str) -> Any:
    """Parse JSON that somebody else wrote.

    Raises:
        ValueError: not JSON, nested more than `MAX_JSON_DEPTH` deep, or with a number that no field can hold.
    """
    import json

    try:
        document = json.loads(data, parse_int=_integer, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [document]
    for _ in range(MAX_JSON_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return document
    raise ValueError("nested too deep")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    # int() takes quadratic time.
    if len(digits) > 20:
        raise ValueError("a number has more than 20 digits")
    return int(digits)


def _children(value: Any) -> Iterable[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]
