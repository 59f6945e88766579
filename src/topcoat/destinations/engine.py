"""Load an image into a container engine on this machine, as one archive with only what the engine does not have.

The archive is an OCI layout and a ``docker save`` archive in one. It is sparse: it names layers that the engine has,
without their content. Docker's classic stores, its containerd store and Podman all load it. The engine then decides the
image's id: the digest of the config in classic stores, of the manifest in the containerd store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from topcoat.bases.base import Base
from topcoat.bases.engine_base import inspect_image
from topcoat.bases.engine_bases import foreign_platform
from topcoat.destinations.archive import SparseArchive
from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.code_layers import CodeLayers
from topcoat.destinations.image_labels import check_labels
from topcoat.destinations.push_records import PushRecord, last_push_record, write_push_record
from topcoat.engines.engine import engine_errors, is_podman
from topcoat.engines.logins import auth_config
from topcoat.engines.pull import pull
from topcoat.errors import DaemonError, DaemonUnavailable
from topcoat.foreign_text import escaped
from topcoat.images.image_build import ImageBuild
from topcoat.notices import notice
from topcoat.oci.compression import Compression
from topcoat.oci.reference import Reference
from topcoat.pack.plan import PlannedLayer
from topcoat.tasks import TaskScope
from topcoat.transfers import count_layers, counted

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "topcoat"
# The API of Docker 23. Versions of engines are less reliable: several vendors build engines.
_MIN_API_ZSTD = (1, 42)


class EngineDestination:
    """The image store of a Docker-compatible engine."""

    takes_index = False

    def __init__(self, client: DockerClient, repository: str = REPOSITORY) -> None:
        """Load into the engine of *client*, with the name *repository*."""
        self._client = client
        self._repository = repository

    def stored_as(self, wanted: Compression) -> Compression:
        """Return ``none``: layers are not sent over a network. A Docker older than 23 cannot store zstd layers."""
        if wanted == "zstd":
            with engine_errors("asking for the engine's version"):
                version = self._client.version()
            if not _loads_zstd(version):
                raise DaemonError(
                    f"the container engine is Docker {version.get('Version')}, and zstd layers need Docker 23",
                    hint="-cfg compression=gzip, or a newer engine",
                )
        return "none"

    def image_name(self, tag: str) -> str:
        return f"{self._repository}:{tag}"

    def image_id(self, name: str) -> str | None:
        """Return the id of the engine's image *name*, None if it has no such image."""
        image = inspect_image(self._client, name)
        return str(image["Id"]) if image else None

    def begin(self, build: ImageBuild, workspace_key: str, tasks: TaskScope) -> EngineDelivery:
        """Return the delivery; it needs no requests in advance."""
        return EngineDelivery(self, build, workspace_key)


class EngineDelivery:
    """One load into an engine."""

    def __init__(self, destination: EngineDestination, build: ImageBuild, workspace_key: str) -> None:
        self._destination, self._client, self._build = destination, destination._client, build
        (self._image,) = build.images
        self._name = destination.image_name(build.tag)
        address, repository = str(self._client.api.base_url), destination._repository
        # One workspace over two bases makes two images; each has its own record.
        self._record_key = (address, repository, build.base_name, workspace_key)

    def __enter__(self) -> EngineDelivery:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def finish(self) -> DeliveryResult:
        """Load the image, unless its name refers to it already.

        Raises:
            DaemonError: the engine refuses.
            TagMoved: the name refers to another image.
        """
        existing = inspect_image(self._client, self._name)
        if existing is not None and not self._build.rebuild:
            labels = (existing.get("Config") or {}).get("Labels")
            check_labels(self._name, str(existing["Id"]), labels, self._image.changes.labels)
            return DeliveryResult(str(existing["Id"]))
        base, code_layers = self._image.base, CodeLayers(self._build.scan)
        if not base.engine_id:
            pull_base(self._client, base)
        planned, existing_count = self._plan(code_layers)
        archive = SparseArchive(self._image, code_layers, planned, existing_count, self._name)
        try:
            loaded = self._load(archive)
        except DaemonError as refused:
            return self._commit(code_layers, refused)
        keys = tuple(layer.key for layer in planned if not layer.hot)
        write_push_record(PushRecord(self._build.tag, keys, tuple(loaded["RootFS"]["Layers"])), *self._record_key)
        return DeliveryResult(str(loaded["Id"]), sent=archive.sent, layers=archive.packed)

    def _load(self, archive: SparseArchive) -> dict[str, Any]:
        with engine_errors(f"loading {self._name}"):
            lines = self._client.api.load_image(counted("loading", archive.blocks()))  # type: ignore[no-untyped-call]
            # To the end, so that the connection is closed.
            errors = [str(line["error"]) for line in lines if line.get("error")]
        if errors:
            raise DaemonError(f"the container engine cannot load {self._name}: {escaped(errors[0])}")
        loaded = inspect_image(self._client, self._name)
        if loaded is None:
            raise DaemonError(f"the container engine loaded {self._name} and does not have it")
        return loaded

    def _commit(self, code_layers: CodeLayers, refused: DaemonError) -> DeliveryResult:
        """Make the image inside the engine, which has *refused* to load it."""
        from topcoat.destinations.commit import commit_image

        base = self._image.base
        planned = code_layers.plan(self._image.pack, len(base.config.diff_ids))
        try:
            platform = foreign_platform(self._client, base)
            sent = commit_image(self._client, self._build, code_layers, planned, self._name, platform)
            image_id = self._destination.image_id(self._name)
            if image_id is None:
                raise DaemonError(f"the container engine committed {self._name} and does not have it")
        except DaemonError as error:
            if isinstance(error, DaemonUnavailable) and isinstance(refused, DaemonUnavailable):
                raise refused from error
            raise DaemonError(
                f"{refused}; and copying the code into a container fails too: {error}",
                hint="push the image instead, with -cfg image_repo=REGISTRY/REPOSITORY",
            ) from error
        notice(f"{self._name} was committed from a container: {refused}")
        return DeliveryResult(image_id, sent=sent, layers=len(planned))

    def _plan(self, code_layers: CodeLayers) -> tuple[list[PlannedLayer], int]:
        """Return the layers, and how many of them the engine has on top of the base already.

        An engine identifies a layer together with all layers below it, so only the common start of both lists counts.
        """
        base_ids, pack = self._image.base.config.diff_ids, self._image.pack
        last = last_push_record(*self._record_key)
        previous = inspect_image(self._client, self._destination.image_name(last.tag)) if last else None
        previous_ids = tuple(previous["RootFS"]["Layers"]) if previous else ()
        if last is None or previous_ids[: len(base_ids)] != base_ids:
            return code_layers.plan(pack, len(base_ids)), 0
        order = {key: position for position, key in enumerate(last.layer_keys)}
        for anchor in (last.layer_keys if self._build.hot else (), ()):
            planned = code_layers.plan(pack, len(base_ids), anchor)
            planned.sort(key=lambda layer: (layer.hot, order.get(layer.key, len(order))))
            existing_count = 0
            for layer, diff_id in zip(planned, previous_ids[len(base_ids) :], strict=False):
                if layer.layer is None or layer.layer.diff_id != diff_id:
                    break
                existing_count += 1
            # A kept layer cannot be packed again, so the engine must have it.
            if not any(layer.kept for layer in planned[existing_count:]):
                break
        return planned, existing_count


def _loads_zstd(version: dict[str, Any]) -> bool:
    """Tell from an engine's version document whether it loads zstd; every Podman with this API does."""
    numbers = tuple(int(part) for part in str(version.get("ApiVersion") or "").split(".") if part.isdecimal())
    return is_podman(version) or not numbers or numbers >= _MIN_API_ZSTD


def pull_base(client: DockerClient, base: Base) -> None:
    """Pull exactly the image that was looked up, and give it the user's name.

    An image for a platform other than the engine's own gets no name, because the name means the engine's platform.
    """
    reference = Reference.parse(base.name)
    pinned = f"{reference.name}@{base.digest}"
    with engine_errors(f"pulling {base.name}"):
        try:
            pull(client, pinned, login_for=base.name, platform=str(base.config.platform))
        except DaemonError as error:
            # The digest is that of an index, and classic stores keep it for the platform that they pulled first. By now
            # the engine has the layers, which is all that is needed.
            if "overwrite digest" not in error.message.lower():
                raise
        if reference.tag and not foreign_platform(client, base):
            client.api.tag(pinned, reference.name, reference.tag)


def push_image(client: DockerClient, image: str, repository: str, tag: str) -> None:
    """Push an image of the engine, by its id or name, as ``repository:tag``; raise ``DaemonError`` if it cannot."""
    name = f"{repository}:{tag}"
    with engine_errors(f"pushing {name}"):
        # Through client.images, as TorchX does: users' tests pass a double that has only these.
        client.images.get(image).tag(repository, tag=tag)
        lines = client.images.push(repository, tag=tag, stream=True, decode=True, auth_config=auth_config(name))
        # To the end, so that the connection is closed.
        errors = [str(line["error"]) for line in count_layers("pushing", lines) if line.get("error")]
    if errors:
        hint = f"docker login {repository.partition('/')[0]}, if it is not allowed"
        if "content digest" in errors[0]:
            # For images that were loaded, the containerd store does not keep the compressed layers of the base.
            hint = "build the workspace with -cfg image_repo=...: it is then pushed without the engine"
        raise DaemonError(f"the container engine cannot push {name}: {escaped(errors[0])}", hint=hint)
