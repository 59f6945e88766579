"""Names of submitted applications: readable, unique, and valid in paths, URLs and DNS."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase

_FIRST = "bcdfghjklmnpqrstvwxz"
_REST = _FIRST + "0123456789"
_DEFAULT_LENGTH = 14

_ID_LENGTH = 8

APP_ID_PATTERN = f"?*-[{_FIRST}]" + f"[{_REST}]" * (_ID_LENGTH - 1)
"""The shell pattern of the ids that `app_id_for` makes; hardly any name that a person chooses matches."""


def make_unique(name: str, string_length: int = 0) -> str:
    """Return *name*, a dash and a random suffix of *string_length* letters and digits (0: 14, over 64 bits).

    The suffix starts with a letter, so that it is valid in DNS, and has no vowels, so that it spells no word.
    """
    return f"{name}-{random_id(string_length)}"


def random_id(string_length: int = 0) -> str:
    """Return *string_length* random lower-case letters and digits (0: 14), the first one a letter."""
    length = string_length or _DEFAULT_LENGTH
    # Eight bytes more than needed make the remainders nearly uniform.
    number, first = divmod(int.from_bytes(os.urandom(length + 8), "big"), len(_FIRST))
    text = _FIRST[first]
    for _ in range(length - 1):
        number, digit = divmod(number, len(_REST))
        text += _REST[digit]
    return text


def app_id_for(name: str) -> str:
    """Return a unique application id that is one safe component of a path, a URL and a handle."""
    return make_unique(re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:100] or "app", _ID_LENGTH)


def is_app_id(name: str) -> bool:
    """Tell whether *name* may be an id of `app_id_for`."""
    return fnmatchcase(name, APP_ID_PATTERN)


def dns_label(text: str, limit: int = 63) -> str:
    """Return *text* as a DNS label (RFC 1123) of at most *limit* characters.

    A digest of the whole text replaces the part that is too long, so that different texts stay different.
    """
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
    if len(label) <= limit:
        return label
    import hashlib

    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{label[: limit - 9].rstrip('-')}-{digest}"
