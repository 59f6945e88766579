"""Copy the layers of a base to the repository of the patched image.

Within one repository nothing is copied. Within a registry, layers are mounted. From another registry they are streamed
through this machine. If only a container engine has the base, they are exported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from topcoat.bases.base import Base
from topcoat.errors import DaemonError
from topcoat.notices import notice
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import is_foreign
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.registry.upload import upload_blob
from topcoat.tasks import run_all

if TYPE_CHECKING:
    from topcoat.bases.engine_base import OpenEngine

# Copies of more bytes than this are announced.
_MIN_ANNOUNCED_BYTES = 1 << 30


class BaseLayers:
    """Copies layers of bases to the repository of *target*, which is known to have the blobs *remote_digests*.

    *engine* has the bases that no registry has. *on_sent* is called with the size of each layer that was sent, and
    *has_failed* tells whether the push has failed elsewhere.
    """

    def __init__(
        self,
        target: Reference,
        clients: Clients,
        engine: OpenEngine,
        remote_digests: frozenset[str],
        on_sent: Callable[[int], None],
        has_failed: Callable[[], bool],
    ) -> None:
        self._target = target
        self._clients = clients
        self._client = clients(target.registry)
        self._engine = engine
        self._remote_digests = remote_digests
        self._on_sent = on_sent
        self._has_failed = has_failed

    def copies(self, bases: Sequence[Base]) -> list[Callable[[], None]]:
        """Return a function for each layer of *bases* to copy from a registry; each may run in a thread."""
        copies: dict[str, Callable[[], None]] = {}
        size = 0
        for base in bases:
            same_registry = base.registry == self._target.registry
            if base.engine_id or (same_registry and base.repository == self._target.repository):
                continue
            for layer in base.manifest.layers:
                # A layer can be listed twice, for example an empty one.
                if layer.digest not in self._remote_digests and layer.digest not in copies and not is_foreign(layer):
                    size += 0 if same_registry else layer.size
                    copies[layer.digest] = partial(self._copy, base, layer)
        if size > _MIN_ANNOUNCED_BYTES:
            notice(f"copying up to {size / 1e9:.1f} GB of the base from {bases[0].registry}")
        return list(copies.values())

    def _copy(self, base: Base, layer: Descriptor) -> None:
        """Mount a layer, or stream it if the registry refuses to mount."""
        repository = self._target.repository
        location = None
        if base.registry == self._target.registry:
            location = self._client.mount(repository, layer, base.repository)
            if location is None:
                return
        if self._client.has_blob(repository, layer):
            if location:
                self._client.cancel_upload(repository, location)
            return
        with self._clients(base.registry).open_blob(base.repository, layer) as stream:
            upload_blob(self._client, repository, stream, layer, location=location)
        self._on_sent(layer.size)

    def export(self, base: Base) -> Base:
        """Export the layers of a base that only the engine has; return the base with their descriptors in the registry.

        Layers are exported once: their descriptors are cached.

        Raises:
            DaemonError: the engine does not have the image any more, or not all of it.
            StateError: not enough space to spool a layer.
        """
        from topcoat.bases.stored_layers import get_stored_layers

        diff_ids = base.config.diff_ids
        descriptors = get_stored_layers(diff_ids)
        unconfirmed = [diff_id for diff_id, layer in descriptors.items() if layer.digest not in self._remote_digests]
        checks = [partial(self._has, descriptors[diff_id]) for diff_id in unconfirmed]
        for diff_id, is_remote in zip(unconfirmed, run_all(checks), strict=True):
            if not is_remote:
                del descriptors[diff_id]
        if frozenset(diff_ids) - descriptors.keys():
            skip = {*descriptors, *(layer.digest for layer in descriptors.values())}
            descriptors.update(self._export(base, skip))
        if self._has_failed():
            return base
        absent = next((diff_id for diff_id in diff_ids if diff_id not in descriptors), None)
        if absent is not None:
            raise DaemonError(
                f"the container engine saved {base.name} without its layer {absent}",
                hint="the engine has lost part of the image: name it by the registry that it was pulled from, or "
                "remove it and build it again",
            )
        layers = tuple(descriptors[diff_id] for diff_id in diff_ids)
        return base._replace(manifest=base.manifest._replace(layers=layers))

    def _export(self, base: Base, skip: set[str]) -> dict[str, Descriptor]:
        from topcoat.bases.engine_base import exporting, image_size
        from topcoat.bases.stored_layers import put_stored_layers

        repository = self._target.repository
        with self._engine() as client:
            size = image_size(client, base)
            if size > _MIN_ANNOUNCED_BYTES:
                notice(f"copying up to {size / 1e9:.1f} GB of the base from this machine's container engine")
            with exporting(client, base) as export:
                for layer in export.layers(skip):
                    if self._has_failed():
                        return {}
                    if not self._has(layer.descriptor):
                        upload_blob(self._client, repository, layer.blob, layer.descriptor)
                        self._on_sent(layer.descriptor.size)
                descriptors = export.descriptors()
        put_stored_layers(descriptors)
        return descriptors

    def _has(self, layer: Descriptor) -> bool:
        return self._client.has_blob(self._target.repository, layer)
