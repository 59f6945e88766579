"""Bring the layers of a base to the repository of the patched image.

Nothing travels where both are in one repository. Within a registry, layers are mounted; from another one they are
streamed through; from a container engine, which alone has the base, they are exported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from topcoat.bases.base import Base
from topcoat.errors import DaemonError
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import OCI_LAYER_ZSTD, OCI_MANIFEST
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.registry.upload import upload_blob
from topcoat.tasks import run_all

if TYPE_CHECKING:
    from topcoat.bases.engine_base import Engine

# Above this, the user is told how much of the base is copied.
_MUCH = 1 << 30


class BaseLayers:
    """Brings layers of bases to *target*.

    Args:
        target: where they go.
        clients: gives the client of a registry.
        engine: connects to the container engine that has the bases which no registry has.
        there: digests of blobs that the target is known to have.
        notify: is told about large copies.
        sent: is told the size of each layer that was sent.
        stopped: tells whether the push has failed elsewhere.
    """

    def __init__(
        self,
        target: Reference,
        clients: Clients,
        engine: Engine,
        there: frozenset[str],
        notify: Callable[[str], None],
        sent: Callable[[int], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._target = target
        self._clients = clients
        self._client = clients(target.registry)
        self._engine = engine
        self._there = there
        self._notify = notify
        self._sent = sent
        self._stopped = stopped

    def copies(self, bases: Sequence[Base]) -> list[Callable[[], None]]:
        """Return what there is to do for the layers of *bases* that a registry has; each may run in a thread."""
        copies: dict[str, Callable[[], None]] = {}
        size = 0
        for base in bases:
            here = base.registry == self._target.registry
            if base.engine_id or (here and base.repository == self._target.repository):
                continue
            for layer in base.manifest.layers:
                # A layer can be listed twice: an empty one, say.
                if layer.digest not in self._there and layer.digest not in copies:
                    size += 0 if here else layer.size
                    copies[layer.digest] = self._copying(base, layer)
        if size > _MUCH:
            self._notify(f"copying up to {size / 1e9:.1f} GB of the base from {bases[0].registry}")
        return list(copies.values())

    def _copying(self, base: Base, layer: Descriptor) -> Callable[[], None]:
        """Return a function that brings a layer over: mounted, or streamed where that is refused."""
        repository = self._target.repository

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
            self._sent(layer.size)

        return copy

    def export(self, base: Base) -> Base:
        """Bring the layers of a base over that only the engine has; return it with the descriptors that they have now.

        The engine is asked for them once: which blob a layer became is remembered.

        Raises:
            DaemonError: the engine does not have the image any more, or not the whole of it.
            StateError: there is no room to spool a layer.
        """
        from topcoat.bases.stored_layers import recall_layers

        diff_ids = base.config.diff_ids
        known = recall_layers(diff_ids)
        unsure = [diff_id for diff_id, layer in known.items() if layer.digest not in self._there]
        ask = [lambda digest=known[diff_id].digest: self._has(digest) for diff_id in unsure]
        for diff_id, has in zip(unsure, run_all(ask), strict=True):
            if not has:
                del known[diff_id]
        missing = frozenset(diff_ids) - known.keys()
        if missing:
            skip = {*known, *(layer.digest for layer in known.values())}
            known.update(self._export(base, skip))
        if self._stopped():
            return base
        absent = next((diff_id for diff_id in diff_ids if diff_id not in known), None)
        if absent is not None:
            raise DaemonError(
                f"the container engine saved {base.name} without its layer {absent}",
                hint="the engine has not kept all of it, and could not push it either: name the image by the registry "
                "that it was pulled from, or remove it and build it again",
            )
        layers = tuple(known[diff_id] for diff_id in diff_ids)
        manifest = base.manifest._replace(layers=layers)
        if any(layer.media_type == OCI_LAYER_ZSTD for layer in layers):
            # Docker's flavour has no type for these.
            manifest = manifest._replace(media_type=OCI_MANIFEST)
        return base._replace(manifest=manifest)

    def _export(self, base: Base, skip: set[str]) -> dict[str, Descriptor]:
        from topcoat.bases.engine_base import exporting, image_size
        from topcoat.bases.stored_layers import remember_layers

        repository = self._target.repository
        with self._engine() as client:
            size = image_size(client, base)
            if size > _MUCH:
                self._notify(f"copying up to {size / 1e9:.1f} GB of the base from this machine's container engine")
            with exporting(client, base) as export:
                for layer in export.layers(skip):
                    if self._stopped():
                        return {}
                    if not self._has(layer.descriptor.digest):
                        upload_blob(self._client, repository, layer.blob, layer.descriptor)
                        self._sent(layer.descriptor.size)
                found = export.descriptors()
        remember_layers(found)
        return found

    def _has(self, digest: str) -> bool:
        return self._client.has_blob(self._target.repository, digest)
