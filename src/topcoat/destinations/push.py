"""One push: layers and configs in parallel, then the manifests, then an index for several platforms."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from topcoat.bases.base import Base
from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.base_layers import BaseLayers
from topcoat.destinations.code_layers import CodeLayers
from topcoat.destinations.preopened_sessions import PreopenedSessions
from topcoat.destinations.push_records import PushRecord, write_push_record
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

# Blobs that are uploaded at the same time. As many packed layers wait, in memory or in a spool file.
_MAX_UPLOADS = 4


class Push:
    """Pushes *build* to the repository of *target*.

    *last* is what the repository is known to have from an earlier push. *sessions* are upload sessions that are open
    already. *engine* is the container engine that has a base which no registry has.
    """

    def __init__(
        self,
        build: ImageBuild,
        code_layers: CodeLayers,
        target: Reference,
        clients: Clients,
        last: PushRecord | None,
        sessions: PreopenedSessions,
        engine: OpenEngine,
    ) -> None:
        self._build = build
        self._code_layers = code_layers
        self._target = target
        self._client = clients(target.registry)
        self._sessions = sessions
        self._remote_digests = frozenset(last.blobs) if last else frozenset()
        self._tasks = TaskScope(_MAX_UPLOADS)
        self._bases = BaseLayers(
            target, clients, engine, self._remote_digests, self._count_sent, lambda: self._tasks.failed
        )
        # Layers that the images of several platforms share are packed and sent once.
        self._layers: dict[str, Layer] = {}
        # Limits how many packed layers wait for a slow network.
        self._packed_slots = threading.Semaphore(_MAX_UPLOADS)
        self._count_lock = threading.Lock()
        self._sent_bytes = 0
        self._packed_layers = 0

    def run(self, planned: Sequence[Sequence[PlannedLayer]], record_key: tuple[str, ...]) -> DeliveryResult:
        """Push the *planned* layers of each image of the build, and store the record of it under *record_key*."""
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
            images = [
                image._replace(base=base).patch(stack)
                for image, base, stack in zip(self._build.images, bases, stacks, strict=True)
            ]
            jobs += [
                self._tasks.start_job(partial(self._upload, image.config, image.descriptor))
                for image in images
                if image.descriptor.digest not in self._remote_digests
            ]
        for job in jobs:
            job.result()
        digest = self._put_manifests(images)
        blobs = [layer.digest for base in bases for layer in base.manifest.layers]
        blobs += [layer.digest for stack in stacks for layer in stack]
        blobs += [image.descriptor.digest for image in images]
        keys = [layer.key for layers in planned for layer in layers if not layer.hot]
        record = PushRecord(self._build.tag, tuple(dict.fromkeys(keys)), tuple(dict.fromkeys(blobs)))
        write_push_record(record, *record_key)
        name = str(self._target.with_tag(self._build.tag))
        return DeliveryResult(name, digest, self._sent_bytes, self._packed_layers)

    def _start_export(self, base: Base) -> Task[Base]:
        """Export a base that only the engine has, in the background."""

        def export() -> Base:
            try:
                return self._bases.export(base)
            except BaseException:
                self._tasks.failed = True
                raise

        return self._tasks.start(export)

    def _put_manifests(self, images: Sequence[PatchedImage]) -> str:
        """Store the manifest, or those of several platforms and their index; return the digest of the tag."""
        repository, tag, index = self._target.repository, self._build.tag, self._build.image_index
        if index is None:
            (image,) = images
            return self._client.put_manifest(repository, tag, image.manifest, image.media_type)
        from topcoat.destinations.index import patched_index

        put = partial(self._client.put_manifest, repository)
        puts = [partial(put, image.digest, image.manifest, image.media_type) for image in images]
        run_all(puts, max_at_once=_MAX_UPLOADS)
        patched = patched_index(index, images)
        return self._client.put_manifest(repository, tag, patched.data, patched.media_type)

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
        if not self._client.has_blob(self._target.repository, cached.digest):
            packed = self._pack(image, planned)
            try:
                self._upload_layer(packed)
            finally:
                self._code_layers.release(planned, packed)

    def _pack(self, image: PlatformImage, planned: PlannedLayer) -> Packed:
        packed = self._code_layers.pack(planned, image.pack)
        with self._count_lock:
            self._packed_layers += 1
        return packed

    def _send(self, planned: PlannedLayer, packed: Packed) -> None:
        """Upload a packed layer unless the registry has it; no other machine has the same hot layer."""
        if planned.hot or not self._client.has_blob(self._target.repository, packed.layer.digest):
            self._upload_layer(packed)

    def _upload_layer(self, packed: Packed) -> None:
        self._upload(packed.blob, Descriptor("", packed.layer.digest, packed.layer.size))

    def _upload(self, body: bytes | BinaryIO, descriptor: Descriptor) -> None:
        location = self._sessions.take()
        upload_blob(self._client, self._target.repository, body, descriptor, location=location)
        self._count_sent(descriptor.size)

    def _count_sent(self, size: int) -> None:
        with self._count_lock:
            self._sent_bytes += size
