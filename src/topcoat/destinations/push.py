"""One push: layers and configs in parallel, then the manifests, then an index for several platforms."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from topcoat.bases.base import Base
from topcoat.destinations.base_layers import BaseLayers
from topcoat.destinations.code_layers import CodeLayers
from topcoat.destinations.preopened_sessions import PreopenedSessions
from topcoat.destinations.push_records import PushRecord
from topcoat.errors import RegistryError
from topcoat.images.image_build import ImageBuild, PlatformImage
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.patch import PatchedImage
from topcoat.oci.reference import Reference
from topcoat.pack.layer import Layer, Packed
from topcoat.pack.plan import PlannedLayer
from topcoat.registry.clients import Clients
from topcoat.registry.upload import upload_blob
from topcoat.tasks import Task, TaskScope, run_all

if TYPE_CHECKING:
    from topcoat.bases.engine_base import OpenEngine
    from topcoat.destinations.index import PatchedIndex

# Blobs that are uploaded at the same time. As many packed layers wait, in memory or in a spool file.
_MAX_UPLOADS = 4


class Push:
    """Pushes *build* to the repository of *target*.

    *remote_digests* are the blobs that the repository is known to have; it is asked for the others. *sessions* are
    upload sessions that are open already. *engine* is the container engine that has a base which no registry has.

    Attributes:
        sent_bytes: bytes of blobs that were sent.
        packed_layers: how many layers were packed.
    """

    def __init__(
        self,
        build: ImageBuild,
        code_layers: CodeLayers,
        target: Reference,
        clients: Clients,
        remote_digests: frozenset[str],
        sessions: PreopenedSessions,
        engine: OpenEngine,
    ) -> None:
        self._build = build
        self._code_layers = code_layers
        self._target = target
        self._client = clients(target.registry)
        self._sessions = sessions
        self._remote_digests = remote_digests
        self._tasks = TaskScope(_MAX_UPLOADS)
        self._bases = BaseLayers(
            target, clients, engine, self._remote_digests, self._count_sent, lambda: self._tasks.failed
        )
        # Layers that the images of several platforms share are packed and sent once.
        self._layers: dict[str, Layer] = {}
        # Limits how many packed layers wait for a slow network.
        self._packed_slots = threading.Semaphore(_MAX_UPLOADS)
        self._count_lock = threading.Lock()
        self._images: list[PatchedImage] = []
        self.sent_bytes = 0
        self.packed_layers = 0

    def send(self, planned: Sequence[Sequence[PlannedLayer]]) -> PushRecord:
        """Send the *planned* layers of each image of the build, and the configs; return the record of the push."""
        jobs: list[Task[None]] = []
        with self._tasks:
            bases = [image.base for image in self._build.images]
            jobs += [self._tasks.start_job(copy) for copy in self._bases.copies(bases)]
            exports = {base.engine_id: self._start_export(base) for base in bases if base.engine_id}
            stacks = [
                self._place_layers(image, layers, jobs)
                for image, layers in zip(self._build.images, planned, strict=True)
            ]
            bases = [exports[base.engine_id].result() if base.engine_id else base for base in bases]
            self._images = [
                image._replace(base=base).patch(stack)
                for image, base, stack in zip(self._build.images, bases, stacks, strict=True)
            ]
            jobs += [
                self._tasks.start_job(partial(self._send_config, image))
                for image in self._images
                if image.descriptor.digest not in self._remote_digests
            ]
        for job in jobs:
            job.result()
        blobs = [layer.digest for base in bases for layer in base.manifest.layers]
        blobs += [layer.digest for stack in stacks for layer in stack]
        blobs += [image.descriptor.digest for image in self._images]
        keys = [layer.key for layers in planned for layer in layers if not layer.hot]
        return PushRecord(self._build.tag, tuple(dict.fromkeys(keys)), tuple(dict.fromkeys(blobs)))

    @property
    def digest(self) -> str:
        """The digest that the tag gets, after `send`."""
        index = self._patched_index()
        return index.digest if index else self._images[0].digest

    def put_manifests(self) -> str:
        """Store the manifest, or those of several platforms and their index; return the digest of the tag."""
        repository, tag, index = self._target.repository, self._build.tag, self._patched_index()
        put = partial(self._client.put_manifest, repository)
        if index is None:
            (image,) = self._images
            return put(tag, image.manifest, image.media_type)
        puts = [partial(put, image.digest, image.manifest, image.media_type) for image in self._images]
        run_all(puts, max_at_once=_MAX_UPLOADS)
        return put(tag, index.data, index.media_type)

    def _patched_index(self) -> PatchedIndex | None:
        if self._build.image_index is None:
            return None
        from topcoat.destinations.index import patched_index

        return patched_index(self._build.image_index, self._images)

    def _start_export(self, base: Base) -> Task[Base]:
        """Export a base that only the engine has, in the background."""

        def export() -> Base:
            try:
                return self._bases.export(base)
            except BaseException:
                self._tasks.failed = True
                raise

        return self._tasks.start(export)

    def _place_layers(
        self, image: PlatformImage, planned_layers: Sequence[PlannedLayer], jobs: list[Task[None]]
    ) -> list[Layer]:
        """Return the code layers of one image and start what sends them; fewer if something has failed."""
        layers = []
        for planned in planned_layers:
            if self._tasks.failed:
                break
            if planned.key not in self._layers:
                self._layers[planned.key], job = self._place_layer(image, planned)
                jobs += [job] if job else []
            layers.append(self._layers[planned.key])
        return layers

    def _place_layer(self, image: PlatformImage, planned: PlannedLayer) -> tuple[Layer, Task[None] | None]:
        """Return the layer, and the job that sends it unless the registry has it."""
        cached = planned.layer
        if cached is not None:
            if cached.digest in self._remote_digests:
                return cached, None
            return cached, self._tasks.start_job(lambda: self._send_if_missing(image, planned, cached))
        self._packed_slots.acquire()
        try:
            packed = self._pack(image, planned)
        except BaseException:
            self._packed_slots.release()
            raise

        def cleanup() -> None:
            self._code_layers.release(planned, packed)
            self._packed_slots.release()

        return packed.layer, self._tasks.start_job(lambda: self._send(planned, packed), cleanup=cleanup)

    def _send_if_missing(self, image: PlatformImage, planned: PlannedLayer, cached: Layer) -> None:
        if not self._has(_descriptor(cached)):
            packed = self._pack(image, planned)
            try:
                if packed.layer.digest != cached.digest:
                    # Another compressor made it, and the manifest would name a blob that nobody has: plan again.
                    raise RegistryError(f"{self._target} has no blob {cached.digest}", registry_code="BLOB_UNKNOWN")
                self._upload(packed.blob, _descriptor(packed.layer))
            finally:
                self._code_layers.release(planned, packed)

    def _pack(self, image: PlatformImage, planned: PlannedLayer) -> Packed:
        packed = self._code_layers.pack(planned, image.pack)
        with self._count_lock:
            self.packed_layers += 1
        return packed

    def _send(self, planned: PlannedLayer, packed: Packed) -> None:
        """Upload a packed layer unless the registry has it; no other machine has the same hot layer."""
        blob = _descriptor(packed.layer)
        if planned.hot or not (blob.digest in self._remote_digests or self._has(blob)):
            self._upload(packed.blob, blob)

    def _send_config(self, image: PatchedImage) -> None:
        self._upload(image.config, image.descriptor)

    def _has(self, blob: Descriptor) -> bool:
        return self._client.has_blob(self._target.repository, blob)

    def _upload(self, body: bytes | BinaryIO, descriptor: Descriptor) -> None:
        location = self._sessions.take()
        upload_blob(self._client, self._target.repository, body, descriptor, location=location)
        self._count_sent(descriptor.size)

    def _count_sent(self, size: int) -> None:
        with self._count_lock:
            self.sent_bytes += size


def _descriptor(layer: Layer) -> Descriptor:
    return Descriptor("", layer.digest, layer.size)
