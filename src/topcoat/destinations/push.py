"""One push of one image: layers and config side by side, then the manifest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import BinaryIO

from topcoat.destinations.base import Delivered, ImageBuild
from topcoat.destinations.deliveries import Delivery, note_delivery
from topcoat.destinations.sessions import Sessions
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.patch import CodeLayer
from topcoat.oci.reference import Reference
from topcoat.pack.layer import Layer, Packed
from topcoat.pack.memory import ChunkMemory
from topcoat.pack.plan import Piece
from topcoat.registry.clients import Clients
from topcoat.registry.upload import upload_blob
from topcoat.tasks import Task

# Blobs on their way at one time: packed layers wait in memory or in a spool file until it is their turn.
_UPLOADS = 4
# Above this, the user is told how much of the base is copied.
_MUCH = 1 << 30


class Push:
    """Brings the layers of *build* to a repository.

    Args:
        build: the image.
        target: where it goes.
        clients: gives the client of a registry.
        last: what the repository is known to hold from an earlier delivery, if anything.
        sessions: upload sessions that are open already.
        notify: is told about large copies.
    """

    def __init__(
        self,
        build: ImageBuild,
        target: Reference,
        clients: Clients,
        last: Delivery | None,
        sessions: Sessions,
        notify: Callable[[str], None],
    ) -> None:
        self._build = build
        self._target = target
        self._clients = clients
        self._client = clients(target.registry)
        self._sessions = sessions
        self._notify = notify
        self._memory = ChunkMemory()
        self._there = frozenset(last.blobs) if last else frozenset()
        self._uploading = threading.Semaphore(_UPLOADS)
        # Packed layers do not pile up before a slow network.
        self._waiting = threading.Semaphore(_UPLOADS)
        self._counting = threading.Lock()
        self._sent = 0
        self._packed = 0
        self._stopped = False

    def run(self, pieces: list[Piece], where: tuple[str, ...]) -> Delivered:
        """Push what *pieces* are, and remember it as the last delivery *where*."""
        build = self._build
        tasks = self._copy_base()
        layers: list[CodeLayer] = []
        try:
            for piece in pieces:
                if self._stopped:
                    break
                layer, task = self._place(piece)
                layers.append(CodeLayer(*layer))
                tasks += [task] if task else []
            image = build.patch(layers)
            if not self._stopped and image.descriptor.digest not in self._there:
                tasks.append(Task(lambda: self._upload(image.config, image.descriptor)))
        except BaseException:
            self._stopped = True
            raise
        finally:
            # Nothing is left running behind an error.
            for task in tasks:
                task.wait()
        for task in tasks:
            task.result()
        repository = self._target.repository
        digest = self._client.put_manifest(repository, build.tag, image.manifest, image.media_type)
        stacked = [layer.digest for layer in build.base.manifest.layers] + [layer.digest for layer in layers]
        chunks = tuple(piece.key for piece in pieces if not piece.hot)
        blobs = (*stacked, image.descriptor.digest)
        note_delivery(Delivery(build.tag, chunks, blobs), *where)
        name = str(self._target.with_tag(build.tag))
        return Delivered(name, digest, self._sent, self._packed)

    def _place(self, piece: Piece) -> tuple[Layer, Task[None] | None]:
        """Return the layer of *piece*, and the task that ends when the registry has it, if that takes any doing."""
        known = piece.layer
        if known is not None:
            if known.digest in self._there:
                return known, None
            return known, self._task(lambda: self._make_sure(piece, known))
        self._waiting.acquire()
        packed = self._pack(piece)
        return packed.layer, self._task(lambda: self._send(piece, packed), finally_=self._waiting.release)

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

    def _make_sure(self, piece: Piece, known: Layer) -> None:
        if not self._client.has_blob(self._target.repository, known.digest):
            self._send(piece, self._pack(piece), ask=False)

    def _pack(self, piece: Piece) -> Packed:
        packed = self._build.pack(piece, self._memory)
        with self._counting:
            self._packed += 1
        return packed

    def _send(self, piece: Piece, packed: Packed, *, ask: bool = True) -> None:
        """Upload a packed layer; ask first whether it is there, but for a hot one, which is nobody else's."""
        layer, blob = packed
        try:
            if piece.hot or not ask or not self._client.has_blob(self._target.repository, layer.digest):
                self._upload(blob, Descriptor("", layer.digest, layer.size))
        finally:
            if piece.key not in self._build.spool:
                blob.close()

    def _upload(self, body: bytes | BinaryIO, descriptor: Descriptor, location: str | None = None) -> None:
        location = location or self._sessions.take()
        upload_blob(self._client, self._target.repository, body, descriptor, location=location)
        with self._counting:
            self._sent += descriptor.size

    def _copy_base(self) -> list[Task[None]]:
        """Start what it takes for the base's layers to be in the target repository."""
        base = self._build.base
        if (base.registry, base.repository) == (self._target.registry, self._target.repository):
            return []
        # A layer can be listed twice: an empty one, say.
        missing = dict.fromkeys(layer for layer in base.manifest.layers if layer.digest not in self._there)
        size = sum(layer.size for layer in missing)
        if base.registry != self._target.registry and size > _MUCH:
            self._notify(f"copying up to {size / 1e9:.1f} GB of the base from {base.registry}")
        return [self._task(self._copying(layer)) for layer in missing]

    def _copying(self, layer: Descriptor) -> Callable[[], None]:
        """Return a function that brings a layer of the base over: mounted, or streamed where that is refused."""
        base, repository = self._build.base, self._target.repository

        def copy() -> None:
            location = None
            if base.registry == self._target.registry:
                location = self._client.mount(repository, layer.digest, base.repository)
                if location is None:
                    return
            if self._client.has_blob(repository, layer.digest):
                if location:
                    self._client.cancel_upload(repository, location)
                return
            with self._clients(base.registry).open_blob(base.repository, layer) as stream:
                upload_blob(self._client, repository, stream, layer, location=location)
            with self._counting:
                self._sent += layer.size

        return copy
