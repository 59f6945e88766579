"""Platforms: operating system, architecture and variant, and which image is good for which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from topcoat.errors import UsageError

# Names that machines and people use for the architectures of the Go tool chain, which images are labelled with.
_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
# The variant that a name without one stands for.
_BASELINE = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


class Platform(NamedTuple):
    """What an image runs on, as ``linux/arm64/v8``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/architecture[/variant]``; ``x86_64`` and ``aarch64`` are understood.

        Raises:
            UsageError: not of that form.
        """
        parts = text.strip().lower().split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise UsageError(
                f"{text!r} is not a platform",
                hint="write it as os/architecture[/variant], such as linux/amd64",
            )
        os, architecture, *rest = parts
        architecture, variant = _ALIASES.get(architecture, (architecture, ""))
        return cls(os, architecture, rest[0] if rest else variant)

    @classmethod
    def from_json(cls, value: object) -> Platform:
        """Read the platform keys of an index entry or an image config; what is missing is ``unknown``."""
        found = value if isinstance(value, Mapping) else {}
        words = [str(found.get(key) or "").lower() for key in ("os", "architecture", "variant")]
        return cls(words[0] or "unknown", words[1] or "unknown", words[2])

    def __str__(self) -> str:
        return "/".join(filter(None, self))

    @property
    def known(self) -> bool:
        """Whether both the operating system and the architecture are stated."""
        return "unknown" not in (self.os, self.architecture)

    @property
    def normal(self) -> Platform:
        """The same platform with the variant spelled out where leaving it out means the baseline."""
        return self._replace(variant=self.variant or _BASELINE.get(self.architecture, ""))

    def matches(self, other: Platform) -> bool:
        """Tell whether an image for *other* is one for this platform; no variant here means any variant there."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        return not self.variant or self.normal == other.normal
