"""Descriptors: what a manifest states about a blob, unknown keys included."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from topcoat.errors import InvalidImage
from topcoat.oci.digest import is_digest, normal_digest

NOTHING: Mapping[str, object] = MappingProxyType({})
"""An empty mapping to share."""


class Descriptor(NamedTuple):
    """A reference to content, by digest (OCI image specification, *content descriptors*).

    Attributes:
        media_type: of the content.
        digest: ``sha256:<hex>``, or of another registered algorithm.
        size: bytes.
        extra: the other keys (``annotations``, ``urls``, ``platform``, ``data``...), unchanged.
    """

    media_type: str
    digest: str
    size: int
    extra: Mapping[str, object] = NOTHING

    def __hash__(self) -> int:
        return hash((self.media_type, self.digest, self.size))

    @classmethod
    def from_json(cls, value: object, default_type: str = "") -> Descriptor:
        """Read a descriptor from parsed JSON, or raise ``InvalidImage``; the media type may be the *default_type*."""
        if not isinstance(value, dict):
            raise InvalidImage(f"invalid descriptor {value!r:.80}: expected a JSON object")
        rest = dict(value)
        media_type, digest, size = (rest.pop(key, None) for key in ("mediaType", "digest", "size"))
        media_type = media_type or default_type
        if not isinstance(media_type, str) or not media_type:
            raise InvalidImage(f"descriptor without a media type: {value!r:.120}")
        digest = normal_digest(digest) if isinstance(digest, str) else digest
        if not isinstance(digest, str) or not is_digest(digest):
            raise InvalidImage(f"descriptor with an invalid digest: {digest!r:.80}")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidImage(f"descriptor of {digest} with an invalid size: {size!r:.40}")
        return cls(media_type, digest, size, MappingProxyType(rest) if rest else NOTHING)

    def to_json(self) -> dict[str, object]:
        """Return the descriptor as a JSON object, with all its keys."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **self.extra}

    @property
    def annotations(self) -> Mapping[str, object]:
        """The annotations; may be empty."""
        annotations = self.extra.get("annotations")
        return annotations if isinstance(annotations, Mapping) else NOTHING
