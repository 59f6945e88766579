"""Push images to a registry: only what it does not have, in few round trips."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from topcoat.destinations.code_layers import CodeLayers
from topcoat.destinations.push_records import last_push_record
from topcoat.destinations.registry_delivery import PreparedImage, RegistryDelivery, blobs_of, plan_images
from topcoat.images.image_build import ImageBuild
from topcoat.oci.compression import Compression, find_compressor
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.tasks import TaskScope

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.bases.engine_base import OpenEngine


class RegistryDestination:
    """A repository of a registry."""

    takes_index = True

    def __init__(self, target: Reference, clients: Clients, *, engine: OpenEngine | None = None) -> None:
        """Prepare to push to the repository of *target*; nothing is sent yet.

        *engine* has the bases that no registry has; by default it is the engine of the docker command line.
        """
        self._target = target
        self._clients = clients
        self._client = clients(target.registry)
        self._client.expect_push(target.repository)
        self._engine = engine or _open_engine

    def stored_as(self, wanted: Compression) -> Compression:
        """Return *wanted*, after a check that this machine has the compressor."""
        find_compressor(wanted)
        return wanted

    def image_name(self, tag: str) -> str:
        return str(self._target.with_tag(tag))

    def begin(
        self, build: ImageBuild, workspace_key: str, tasks: TaskScope, prepared: PreparedImage | None = None
    ) -> RegistryDelivery:
        """Send the first round of requests, in parallel."""
        key = self._record_key(build, workspace_key)
        return RegistryDelivery(self._target, self._clients, self._engine, build, key, tasks, prepared)

    def prepare(self, build: ImageBuild, workspace_key: str) -> PreparedImage:
        """Pack what the repository is not known to have, and push nothing; errors as of `Delivery.finish`."""
        code_layers, last = CodeLayers(build.scan), last_push_record(*self._record_key(build, workspace_key))
        last = last if last and last.is_fresh else None
        planned_images = plan_images(build, code_layers, last)
        remote_digests = blobs_of(last)
        images = []
        try:
            layers = {}
            for image, planned_layers in zip(build.images, planned_images, strict=True):
                for planned in planned_layers:
                    if planned.key not in layers:
                        layer = planned.layer
                        if layer is None or layer.digest not in remote_digests:
                            layer = code_layers.spool(planned, image.pack).layer
                        layers[planned.key] = layer
                images.append(image.patch([layers[planned.key] for planned in planned_layers]))
        except BaseException:
            code_layers.close()
            raise
        image_id = images[0].image_id
        if build.image_index is not None:
            from topcoat.destinations.index import patched_index

            image_id = patched_index(build.image_index, images).digest
        return PreparedImage(build, image_id, planned_images, code_layers)

    def _record_key(self, build: ImageBuild, workspace_key: str) -> tuple[str, ...]:
        # One workspace over two bases makes two images; each has its own record.
        return self._target.name, build.base_name, workspace_key


def _open_engine() -> AbstractContextManager[DockerClient]:
    from topcoat.bases.engine_base import open_engine

    return open_engine()
