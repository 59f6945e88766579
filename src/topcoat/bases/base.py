"""The base image that the code is added to, and its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from topcoat.oci.config import ImageConfig
from topcoat.oci.manifest import Index, Manifest
from topcoat.rootfs.nodes import OpenTree
from topcoat.tasks import TaskScope

ALL_PLATFORMS = "all"
"""The value of the run option ``platform`` that selects every platform of an index."""


class Base(NamedTuple):
    """One image that code is added to.

    Attributes:
        name: as the user wrote it.
        digest: of the manifest or index that the name refers to; empty for an image of an engine.
        manifest: of the chosen platform. Of an engine's image it lists the diff ids in place of layer digests.
        config: the image config.
        registry: host that stores the layers; empty for an image of an engine.
        repository: where the registry stores them.
        engine_id: id of the image in this machine's container engine, if it was found there.
    """

    name: str
    digest: str
    manifest: Manifest
    config: ImageConfig
    registry: str = ""
    repository: str = ""
    engine_id: str = ""


class BaseIndex(NamedTuple):
    """The images of an index, to patch all of them.

    Attributes:
        image_index: lists these images alone.
        bases: one for each entry of *image_index*, in its order.
    """

    image_index: Index
    bases: tuple[Base, ...]


class FoundBase(NamedTuple):
    """A base that was looked up.

    Attributes:
        base: may come from the cache.
        confirm: waits for the registry and returns what the name refers to now: *base* itself if it is unchanged.
    """

    base: Base | BaseIndex
    confirm: Callable[[], Base | BaseIndex]


class BaseSource(Protocol):
    """Finds bases and reads their files."""

    def find(self, name: str, platform: str, tasks: TaskScope) -> FoundBase:
        """Look up the image *name* for *platform* (``os/architecture``, ``all``, or empty for the default one).

        Raises:
            ImageNotFound: there is no such image.
            NoSuchPlatform: there is no image for that platform.
            DaemonError: the engine that was asked refuses.
        """

    def open_tree(self, base: Base, max_bytes: int | None) -> OpenTree:
        """Return the file system of *base*, reading at most *max_bytes* of its layers; None for no limit."""


def images_of(base: Base | BaseIndex) -> tuple[Base, ...]:
    """Return the base for each platform; one unless *base* is an index."""
    return base.bases if isinstance(base, BaseIndex) else (base,)


def look_up(source: BaseSource, name: str, platform: str = "") -> Base | BaseIndex:
    """Return what *name* refers to in *source* now; see `BaseSource.find`."""
    with TaskScope() as tasks:
        return source.find(name, platform, tasks).confirm()
