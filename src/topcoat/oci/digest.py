"""Content digests, and JSON as canonical bytes."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from topcoat.errors import InvalidImage

if TYPE_CHECKING:
    from hashlib import _Hash

# The algorithms that the OCI image specification registers, and the number of hex digits.
_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_DIGEST = re.compile(r"(sha256|sha384|sha512):([0-9a-f]+)")


def sha256_digest(data: bytes) -> str:
    """Return the SHA-256 of *data* as ``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Tell whether *text* is a digest of an algorithm that the image specification registers."""
    match = _DIGEST.fullmatch(text)
    return match is not None and len(match[2]) == _HEX_LENGTH[match[1]]


def normal_digest(text: str) -> str:
    """Return *text* in lower case if that makes it a digest, else as it is."""
    return text.lower() if not is_digest(text) and is_digest(text.lower()) else text


def hasher(digest: str) -> _Hash:
    """Return a new hash object of the algorithm that *digest* names.

    Raises:
        InvalidImage: *digest* is malformed or of an unknown algorithm.
    """
    if not is_digest(digest):
        raise InvalidImage(f"invalid digest {digest!r}: expected sha256: and 64 lower-case hex digits")
    return hashlib.new(digest.partition(":")[0])


def digest_like(digest: str, data: bytes) -> str:
    """Return the digest of *data* with the algorithm of *digest*."""
    state = hasher(digest)
    state.update(data)
    return f"{state.name}:{state.hexdigest()}"


def matches(digest: str, data: bytes) -> bool:
    """Tell whether *digest* is the digest of *data*.

    Raises:
        InvalidImage: *digest* is malformed.
    """
    return digest_like(digest, data) == digest


def canonical_json(value: object) -> bytes:
    """Return *value* as JSON with sorted keys, no spaces and UTF-8: equal values give equal bytes.

    Raises:
        ValueError: *value* holds NaN or an infinity, which JSON does not have.
    """
    options = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    text = json.dumps(value, ensure_ascii=False, **options)  # type: ignore[arg-type]
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate, which JSON can escape and UTF-8 cannot encode: escape every character beyond ASCII.
        return json.dumps(value, **options).encode()  # type: ignore[arg-type]
