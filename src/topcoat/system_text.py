"""Text as the system has it: arguments, variables and paths are bytes, which Python decodes as the locale says.

What one machine, or one locale, writes into a file is read in others: bytes stay the same there, text does not.
"""

from __future__ import annotations

import codecs
import os
import sys


def system_bytes(text: str) -> bytes:
    """Return the bytes that Python decoded to *text*; a character that the locale does not have is written as UTF-8."""
    return text.encode(sys.getfilesystemencoding(), "topcoat")


def system_text(text: str) -> str:
    """Return *text* as ``os.fsencode``, and with it every function of ``os``, can encode it: to `system_bytes`."""
    return os.fsdecode(system_bytes(text))


def _as_utf8(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    is_byte = "\udc80" <= character <= "\udcff"
    return character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass"), error.start + 1


codecs.register_error("topcoat", _as_utf8)
