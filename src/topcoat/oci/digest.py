"""Content digests, and JSON that always comes out as the same bytes."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from topcoat.errors import InvalidImage

if TYPE_CHECKING:
    from hashlib import _Hash

# The algorithms that the OCI image specification registers, with their lengths in hex digits.
_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_DIGEST = re.compile(r"(sha256|sha384|sha512):([0-9a-f]+)")


def sha256_digest(data: bytes) -> str:
    """Return the SHA-256 of *data* as ``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Tell whether *text* is a digest by an algorithm that the image specification registers."""
    match = _DIGEST.fullmatch(text)
    return match is not None and len(match[2]) == _HEX_LENGTH[match[1]]


def hasher(digest: str) -> _Hash:
    """Return a new hash object of the algorithm that *digest* names.

    Raises:
        InvalidImage: *digest* is malformed or by an algorithm that is not registered.
    """
    if not is_digest(digest):
        raise InvalidImage(f"{digest!r} is not a digest: sha256: and 64 lower-case hex digits are expected")
    return hashlib.new(digest.partition(":")[0])


def matches(digest: str, data: bytes) -> bool:
    """Tell whether *digest* is the digest of *data*.

    Raises:
        InvalidImage: *digest* is malformed.
    """
    state = hasher(digest)
    state.update(data)
    return state.hexdigest() == digest.partition(":")[2]


def canonical_json(value: object) -> bytes:
    """Return *value* as JSON with sorted keys, no spaces and UTF-8: equal values give equal bytes.

    Raises:
        ValueError: *value* holds a number that JSON cannot express (NaN, an infinity).
    """
    options = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    text = json.dumps(value, ensure_ascii=False, **options)  # type: ignore[arg-type]
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate (JSON can spell one, UTF-8 cannot): keep every character beyond ASCII escaped.
        return json.dumps(value, **options).encode()  # type: ignore[arg-type]
