"""Platforms: operating system, architecture and variant, and which image runs on which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from topcoat.errors import UsageError

# Other names of architectures. Images are labelled with Go's.
_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
# The variant that a name without a variant means.
_BASELINE = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


class Platform(NamedTuple):
    """What an image runs on, as ``linux/arm64/v8``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/architecture[/variant]``, also ``x86_64`` and ``aarch64``; raise ``UsageError`` for others."""
        parts = text.strip().lower().split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            hint = "write it as os/architecture[/variant], such as linux/amd64"
            raise UsageError(f"invalid platform {text!r}", hint=hint)
        os, architecture, *rest = parts
        architecture, variant = _ALIASES.get(architecture, (architecture, ""))
        return cls(os, architecture, rest[0] if rest else variant)

    @classmethod
    def from_json(cls, value: object) -> Platform:
        """Read the platform keys of an index entry or an image config; a missing one counts as ``unknown``."""
        keys = value if isinstance(value, Mapping) else {}
        words = [
            value.lower() if isinstance(value := keys.get(key), str) else ""
            for key in ("os", "architecture", "variant")
        ]
        return cls(words[0] or "unknown", words[1] or "unknown", words[2])

    def __str__(self) -> str:
        return "/".join(filter(None, self))

    @property
    def known(self) -> bool:
        """Whether both the operating system and the architecture are stated."""
        return "unknown" not in (self.os, self.architecture)

    @property
    def normal(self) -> Platform:
        """The same platform with the baseline variant filled in."""
        return self._replace(variant=self.variant or _BASELINE.get(self.architecture, ""))

    def matches(self, other: Platform) -> bool:
        """Tell whether an image for *other* is one for this platform; without a variant, any variant matches."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        return not self.variant or self.normal == other.normal


DEFAULT_PLATFORM = Platform("linux", "amd64")
