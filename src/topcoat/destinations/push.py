"""One push: layers and configs side by side, then the manifests, then the index where there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from topcoat.bases.base import Base
from topcoat.destinations.base import DeliveryResult, ImageBuild
from topcoat.destinations.base_layers import BaseLayers
from topcoat.destinations.preopened_sessions import PreopenedSessions
from topcoat.destinations.push_records import PushRecord, write_push_record
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.patch import CodeLayer, PatchedImage
from topcoat.oci.reference import Reference
from topcoat.pack.layer import Layer, Packed
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.plan import PlannedLayer
from topcoat.registry.clients import Clients
from topcoat.registry.upload import upload_blob
from topcoat.tasks import Task, run_all

if TYPE_CHECKING:
    from topcoat.bases.engine_base import Engine

# Blobs on their way at one time: packed layers wait in memory or in a spool file until it is their turn.
_UPLOADS = 4


class Push:
    """Brings the layers of *build* to a repository.

    Args:
        build: the image.
        target: where it goes.
        clients: gives the client of a registry.
        last: what the repository is known to hold from an earlier delivery, if anything.
        sessions: upload sessions that are open already.
        notify: is told about large copies.
        engine: connects to the container engine that has a base which no registry has.
    """

    def __init__(
        self,
        build: ImageBuild,
        target: Reference,
        clients: Clients,
        last: PushRecord | None,
        sessions: PreopenedSessions,
        notify: Callable[[str], None],
        engine: Engine,
    ) -> None:
        self._build = build
        self._target = target
        self._client = clients(target.registry)
        self._sessions = sessions
        self._memory = LayerCache()
        self._there = frozenset(last.blobs) if last else frozenset()
        self._bases = BaseLayers(target, clients, engine, self._there, notify, self._count_sent, lambda: self._stopped)
        self._tasks: list[Task[None]] = []
        # What is shared by the images of several platforms is packed and sent once.
        self._placed: dict[str, Layer] = {}
        self._uploading = threading.Semaphore(_UPLOADS)
        # Packed layers do not pile up before a slow network.
        self._waiting = threading.Semaphore(_UPLOADS)
        self._counting = threading.Lock()
        self._sent = 0
        self._packed = 0
        self._stopped = False

    def run(self, pieces: Sequence[Sequence[PlannedLayer]], where: tuple[str, ...]) -> DeliveryResult:
        """Push what *pieces* are, for each image of the build, and remember it as the last delivery *where*."""
        builds = self._build.images
        bases = [build.base for build in builds]
        self._tasks = [self._task(copy) for copy in self._bases.copies(bases)]
        exports = {base.engine_id: self._exporting(base) for base in bases if base.engine_id}
        try:
            layers = [self._place_all(build, parts) for build, parts in zip(builds, pieces, strict=True)]
            bases = [exports[base.engine_id].result() if base.engine_id else base for base in bases]
            builds = tuple([build._replace(base=base) for build, base in zip(builds, bases, strict=True)])
            images = [build.patch(stack) for build, stack in zip(builds, layers, strict=True)]
            for image in images:
                if not self._stopped and image.descriptor.digest not in self._there:
                    self._tasks.append(self._task(self._sending_config(image)))
        except BaseException:
            self._stopped = True
            raise
        finally:
            # Nothing is left running behind an error.
            for task in self._tasks:
                task.wait()
            for export in exports.values():
                export.wait()
        for task in self._tasks:
            task.result()
        digest = self._put_manifests(images)
        blobs = [layer.digest for base in bases for layer in base.manifest.layers]
        blobs += [layer.digest for stack in layers for layer in stack]
        blobs += [image.descriptor.digest for image in images]
        chunks = [piece.key for parts in pieces for piece in parts if not piece.hot]
        write_push_record(
            PushRecord(self._build.tag, tuple(dict.fromkeys(chunks)), tuple(dict.fromkeys(blobs))), *where
        )
        return DeliveryResult(str(self._target.with_tag(self._build.tag)), digest, self._sent, self._packed)

    def _exporting(self, base: Base) -> Task[Base]:
        """Bring over a base that only the engine has, beside everything else."""

        def export() -> Base:
            try:
                return self._bases.export(base)
            except BaseException:
                self._stopped = True
                raise

        return Task(export)

    def _put_manifests(self, images: Sequence[PatchedImage]) -> str:
        """Store the manifest, or those of several platforms and their index; return the digest of what has the tag."""
        repository, whole = self._target.repository, self._build.base.whole
        if whole is None:
            (image,) = images
            return self._client.put_manifest(repository, self._build.tag, image.manifest, image.media_type)
        from topcoat.destinations.index import patched_index

        def putting(image: PatchedImage) -> Callable[[], str]:
            return lambda: self._client.put_manifest(repository, image.digest, image.manifest, image.media_type)

        run_all([putting(image) for image in images], at_once=_UPLOADS)
        new = patched_index(whole, images)
        return self._client.put_manifest(repository, self._build.tag, new.data, new.media_type)

    def _place_all(self, build: ImageBuild, pieces: Sequence[PlannedLayer]) -> list[CodeLayer]:
        """Return the code layers of one image, on their way; fewer where something has failed."""
        layers = []
        for piece in pieces:
            if self._stopped:
                break
            if piece.key not in self._placed:
                self._placed[piece.key], task = self._place(build, piece)
                self._tasks += [task] if task else []
            layers.append(CodeLayer(*self._placed[piece.key]))
        return layers

    def _place(self, build: ImageBuild, piece: PlannedLayer) -> tuple[Layer, Task[None] | None]:
        """Return the layer of *piece*, and the task that ends when the registry has it, if that takes any doing."""
        known = piece.layer
        if known is not None:
            if known.digest in self._there:
                return known, None
            return known, self._task(lambda: self._make_sure(build, piece, known))
        self._waiting.acquire()
        packed = self._pack(build, piece)
        return packed.layer, self._task(lambda: self._send(build, piece, packed), finally_=self._waiting.release)

    def _task(self, function: Callable[[], None], *, finally_: Callable[[], None] = lambda: None) -> Task[None]:
        """Run *function* when there is a free place for it, unless something else has failed by then."""

        def run() -> None:
            try:
                if not self._stopped:
                    function()
            except BaseException:
                self._stopped = True
                raise
            finally:
                finally_()

        return Task(run, limit=self._uploading)

    def _make_sure(self, build: ImageBuild, piece: PlannedLayer, known: Layer) -> None:
        if not self._client.has_blob(self._target.repository, known.digest):
            self._send(build, piece, self._pack(build, piece), ask=False)

    def _pack(self, build: ImageBuild, piece: PlannedLayer) -> Packed:
        packed = build.pack(piece, self._memory)
        with self._counting:
            self._packed += 1
        return packed

    def _send(self, build: ImageBuild, piece: PlannedLayer, packed: Packed, *, ask: bool = True) -> None:
        """Upload a packed layer; ask first whether it is there, but for a hot one, which is nobody else's."""
        layer, blob = packed
        try:
            if piece.hot or not ask or not self._client.has_blob(self._target.repository, layer.digest):
                self._upload(blob, Descriptor("", layer.digest, layer.size))
        finally:
            if piece.key not in build.spool:
                blob.close()

    def _sending_config(self, image: PatchedImage) -> Callable[[], None]:
        return lambda: self._upload(image.config, image.descriptor)

    def _upload(self, body: bytes | BinaryIO, descriptor: Descriptor) -> None:
        location = self._sessions.take()
        upload_blob(self._client, self._target.repository, body, descriptor, location=location)
        self._count_sent(descriptor.size)

    def _count_sent(self, size: int) -> None:
        with self._counting:
            self._sent += size
