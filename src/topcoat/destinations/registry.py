"""Push images to a registry: only what it does not have, in few round trips."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.code_layers import CodeLayers
from topcoat.destinations.preopened_sessions import PreopenedSessions
from topcoat.destinations.push_records import PushRecord, last_push_record
from topcoat.errors import RegistryError
from topcoat.images.image_build import ImageBuild
from topcoat.oci.compression import Compression, find_compressor
from topcoat.oci.reference import Reference
from topcoat.pack.plan import PlannedLayer
from topcoat.registry.clients import Clients
from topcoat.tasks import TaskScope

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.bases.engine_base import OpenEngine

# Error codes of registries for a manifest that names a blob which they have lost.
_LOST_BLOB = ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_INVALID")


class PreparedImage(NamedTuple):
    """An image whose new layers are packed and spooled, ready to be pushed.

    Attributes:
        image_id: digest of its config, or of its index.
        planned: the layers of each of its images.
        code_layers: owns the spool.
    """

    build: ImageBuild
    image_id: str
    planned: list[list[PlannedLayer]]
    code_layers: CodeLayers


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
        return RegistryDelivery(self, build, workspace_key, tasks, prepared)

    def prepare(self, build: ImageBuild, workspace_key: str) -> PreparedImage:
        """Pack what the repository is not known to have, and push nothing; errors as of `Delivery.finish`."""
        code_layers, last = CodeLayers(build.scan), last_push_record(*self._record_key(build, workspace_key))
        planned_images = _plan(build, code_layers, last)
        remote_digests = _blobs(last)
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


class RegistryDelivery:
    """One push to a repository."""

    def __init__(
        self,
        destination: RegistryDestination,
        build: ImageBuild,
        workspace_key: str,
        tasks: TaskScope,
        prepared: PreparedImage | None,
    ) -> None:
        self._target, self._clients, self._engine = destination._target, destination._clients, destination._engine
        self._client, self._build, self._prepared = destination._client, build, prepared
        self._record_key = destination._record_key(build, workspace_key)
        self._name = destination.image_name(build.tag)
        repository = self._target.repository
        self._last = last_push_record(*self._record_key)
        # With the same tag as last time, the image most likely exists, and sessions are not needed.
        changed = self._last is not None and self._last.tag != build.tag
        self._tag_head = tasks.start(lambda: self._client.head_manifest(repository, build.tag))
        last_tag = self._last.tag if self._last and changed else ""
        self._last_head = tasks.start(lambda: self._client.head_manifest(repository, last_tag)) if last_tag else None
        # An edit uploads a layer, and a config for each platform.
        session_count = 1 + len(build.images) if changed else 0
        self._sessions = PreopenedSessions(self._client, repository, session_count, tasks)

    def __enter__(self) -> RegistryDelivery:
        return self

    def __exit__(self, *_: object) -> None:
        self._sessions.cancel()

    def finish(self) -> DeliveryResult:
        """Push the image, unless its tag exists; raise ``RegistryError`` if the registry is unavailable or refuses."""
        existing = self._tag_head.result()
        if existing is not None:
            return DeliveryResult(self._name, existing.digest)
        last = self._last if self._last_head and self._last_head.result() else None
        code_layers = self._prepared.code_layers if self._prepared else CodeLayers(self._build.scan)
        try:
            try:
                return self._push(code_layers, last, self._prepared.planned if self._prepared else None)
            except RegistryError as error:
                if error.registry_code not in _LOST_BLOB:
                    raise
                # The registry has lost a blob that the record lists: push again without the record.
                return self._push(code_layers, None, None)
        except RegistryError as error:
            # Somebody else has pushed the tag meanwhile, and the registry does not allow to overwrite it.
            refused = error.status in (400, 403, 409, 412)
            existing = self._client.head_manifest(self._target.repository, self._build.tag) if refused else None
            if existing is None:
                raise
            return DeliveryResult(self._name, existing.digest)

    def _push(
        self, code_layers: CodeLayers, last: PushRecord | None, planned: list[list[PlannedLayer]] | None
    ) -> DeliveryResult:
        if planned is None or not all(_can_be_sent(layers, last) for layers in planned):
            planned = _plan(self._build, code_layers, last)
        # Most builds find their tag, and send nothing.
        from topcoat.destinations.push import Push

        push = Push(self._build, code_layers, self._target, self._clients, last, self._sessions, self._engine)
        return push.run(planned, self._record_key)


def _plan(build: ImageBuild, code_layers: CodeLayers, last: PushRecord | None) -> list[list[PlannedLayer]]:
    """Return the layers of each image; the same ones for images that are packed alike."""
    base_layers = max(len(image.base.manifest.layers) for image in build.images)
    anchor = last.layer_keys if last and build.hot else ()
    planned: dict[str, list[PlannedLayer]] = {}
    for image in build.images:
        options = image.pack.identity()
        if options not in planned:
            planned[options] = code_layers.plan(image.pack, base_layers, anchor)
    return [planned[image.pack.identity()] for image in build.images]


def _blobs(record: PushRecord | None) -> frozenset[str]:
    return frozenset(record.blobs) if record else frozenset()


def _can_be_sent(planned: Sequence[PlannedLayer], last: PushRecord | None) -> bool:
    """Tell whether each layer is in the repository or can be packed from the workspace as it is now."""
    remote_digests = _blobs(last)
    return not any(layer.kept and layer.layer and layer.layer.digest not in remote_digests for layer in planned)


def _open_engine() -> AbstractContextManager[DockerClient]:
    from topcoat.bases.engine_base import open_engine

    return open_engine()
