"""Show text that others wrote (registries, proxies, file names) without letting it control the terminal."""

from __future__ import annotations

MAX_SHOWN = 500


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


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
