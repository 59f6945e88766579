"""Descriptors: what a manifest says of a blob, kept word for word."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from topcoat.errors import InvalidImage
from topcoat.oci.digest import is_digest

NOTHING: Mapping[str, object] = MappingProxyType({})
"""An empty mapping that can be shared."""


class Descriptor(NamedTuple):
    """A reference to content, by digest (OCI image specification, *content descriptors*).

    Attributes:
        media_type: what the content is.
        digest: ``sha256:<hex>``, or another registered algorithm.
        size: bytes.
        extra: the other keys (``annotations``, ``urls``, ``platform``, ``data``...), as they were found.
    """

    media_type: str
    digest: str
    size: int
    extra: Mapping[str, object] = NOTHING

    def __hash__(self) -> int:
        return hash((self.media_type, self.digest, self.size))

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Read a descriptor out of parsed JSON.

        Raises:
            InvalidImage: a key is missing or its value cannot be right.
        """
        if not isinstance(value, dict):
            raise InvalidImage(f"a descriptor must be a JSON object, not {value!r:.80}")
        rest = dict(value)
        media_type, digest, size = (
            rest.pop("mediaType", None),
            rest.pop("digest", None),
            rest.pop("size", None),
        )
        if not isinstance(media_type, str) or not media_type:
            raise InvalidImage(f"a descriptor without a media type: {value!r:.120}")
        if not isinstance(digest, str) or not is_digest(digest):
            raise InvalidImage(f"a descriptor with the digest {digest!r:.80}")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidImage(f"the descriptor of {digest} has the size {size!r:.40}")
        return cls(media_type, digest, size, MappingProxyType(rest) if rest else NOTHING)

    def to_json(self) -> dict[str, object]:
        """Return the descriptor as a JSON object with every key that it came with."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **self.extra}

    @property
    def annotations(self) -> Mapping[str, object]:
        """The annotations, empty where there are none."""
        found = self.extra.get("annotations")
        return found if isinstance(found, Mapping) else NOTHING
