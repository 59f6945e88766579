"""The image that code is laid over."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from topcoat.oci.config import ImageConfig
from topcoat.oci.manifest import Index, Manifest
from topcoat.rootfs.nodes import OpenTree

ALL_PLATFORMS = "all"
"""What the run option ``platform`` says to patch the image of every platform of an index."""


class Base(NamedTuple):
    """The image that code is laid over.

    Attributes:
        name: as the user wrote it.
        digest: of what the name refers to: an index where it is one; empty where a daemon holds the image.
        manifest: of the platform that was chosen.
        config: its config.
        registry: host that holds the layers; empty for a daemon.
        repository: where they lie in it.
        engine_id: of the image in this machine's container engine, where that alone has it.
        whole: what the name refers to where all of it is patched: its images alone, one for each of *platforms*.
        platforms: the base for each platform then, of which this one is the first.
    """

    name: str
    digest: str
    manifest: Manifest
    config: ImageConfig
    registry: str = ""
    repository: str = ""
    engine_id: str = ""
    whole: Index | None = None
    platforms: tuple[Base, ...] = ()


class BaseSource(Protocol):
    """Something that bases are found in, and can look into them."""

    def tree_of(self, base: Base, limit: int | None) -> OpenTree:
        """Return what looks into *base*, reading at most *limit* bytes of its layers; None for as many as it takes."""
