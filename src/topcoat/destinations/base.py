"""The interface of destinations of images."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from topcoat.images.image_build import ImageBuild
from topcoat.oci.compression import Compression
from topcoat.tasks import TaskScope


class DeliveryResult(NamedTuple):
    """What a delivery did.

    Attributes:
        image: the name to run it by: ``repository:tag``, or the id that an engine gave it.
        digest: of the manifest in a registry; empty for an image in an engine.
        sent: bytes of blobs that were sent.
        layers: how many layers were packed.
    """

    image: str
    digest: str = ""
    sent: int = 0
    layers: int = 0

    @property
    def reference(self) -> str:
        """The image with its digest, if it has one."""
        return f"{self.image}@{self.digest}" if self.digest else self.image


class Delivery(Protocol):
    """A delivery that has begun; leaving its ``with`` block without `finish` cancels it."""

    def __enter__(self) -> Delivery:
        """Return the delivery."""

    def __exit__(self, *_: object) -> None:
        """Cancel what was begun and not used."""

    def finish(self) -> DeliveryResult:
        """Deliver the image; what the destination has already is not sent.

        Raises:
            WorkspaceChanged: a file is no longer what the snapshot says.
        """


class ImageDestination(Protocol):
    """A place for images."""

    takes_index: bool
    """Whether images for several platforms can be stored there under one name."""

    def stored_as(self, wanted: Compression) -> Compression:
        """Return how layers are stored there if the user wants *wanted*.

        Raises:
            MissingDependency: the compressor is not installed.
            DaemonError: the destination cannot store such layers.
        """

    def image_name(self, tag: str) -> str:
        """Return the name that the image with *tag* has, or will have, there."""

    def begin(self, build: ImageBuild, workspace_key: str, tasks: TaskScope) -> Delivery:
        """Begin to deliver *build* with requests in the background, run as *tasks*.

        *workspace_key* names the workspace (`push_records.workspace_key`): deliveries of one workspace build on each
        other.
        """


def deliver(destination: ImageDestination, build: ImageBuild, workspace_key: str) -> DeliveryResult:
    """Deliver *build* to *destination*, from begin to end."""
    with TaskScope() as tasks, destination.begin(build, workspace_key, tasks) as delivery:
        return delivery.finish()
