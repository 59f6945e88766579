"""Names of files as text: always UTF-8, so that the locale decides about nothing that is shipped.

Bytes that are not UTF-8 become surrogates. Python decodes names with the locale's encoding: where that is another one,
they are decoded again here, and the system gets paths as bytes.
"""

from __future__ import annotations

import os
import sys

IS_UTF8 = sys.getfilesystemencoding() == "utf-8"
# Windows has names with lone surrogates.
ERRORS = sys.getfilesystemencodeerrors()


def encode(name: str) -> bytes:
    """Return the bytes of *name*."""
    return name.encode("utf-8", ERRORS)


def decode(name: bytes) -> str:
    """Return *name* as text."""
    return name.decode("utf-8", ERRORS)


def from_system(name: str) -> str:
    """Return the text of *name*, which Python decoded with the locale's encoding."""
    return name if IS_UTF8 else decode(os.fsencode(name))


def to_system(path: str) -> str | bytes:
    """Return *path* as the functions of ``os`` take it."""
    return path if IS_UTF8 else encode(path)


def encode_declared(name: str) -> bytes:
    """Return the bytes of a *name* that a program, a configuration file or the command line declares.

    Only the command line's is decoded with the locale's encoding: it was UTF-8 if the bytes are.
    """
    if not IS_UTF8:
        try:
            return os.fsencode(name).decode().encode()
        except UnicodeError:
            pass
    return encode(name)


def is_unicode(text: str) -> bool:
    """Tell whether *text* has no surrogates: JSON and undecodable arguments can have some."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
