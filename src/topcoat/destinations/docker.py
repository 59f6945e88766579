"""Load an image into a container engine on this machine, by one archive that holds only what the engine lacks.

The archive is an OCI layout and a ``docker save`` archive at once, and sparse: layers that the engine has are named in
it and left out. Docker's classic stores, its containerd store and Podman all take it. Which id the image then has is
the engine's to say: the digest of the config on classic stores, of the manifest on the containerd store.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from topcoat.bases.base import Base
from topcoat.bases.engine_base import engine_config
from topcoat.bases.lookup import BaseLookup
from topcoat.destinations.archive import SparseArchive
from topcoat.destinations.base import DeliveryResult, ImageBuild
from topcoat.destinations.push_records import PushRecord, last_push_record, write_push_record
from topcoat.engines.engine import connect, engine_errors, is_podman
from topcoat.engines.logins import auth_config
from topcoat.errors import (
    AuthenticationFailed,
    DaemonError,
    DaemonUnavailable,
    ImageNotFound,
    NoSuchPlatform,
    RegistryUnavailable,
)
from topcoat.notices import notice
from topcoat.oci.compression import Compression
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Manifest
from topcoat.oci.platform import Platform
from topcoat.oci.reference import Reference
from topcoat.pack.cut import LARGE_CHUNKS, SMALL_CHUNKS
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.plan import MAX_LAYERS, PlannedLayer, plan_layers
from topcoat.registry.clients import Clients
from topcoat.rootfs.nodes import OpenTree

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["REPOSITORY", "DockerDestination", "connect"]

REPOSITORY = "topcoat"
# That of Docker 23. Its own number tells less: engines are built and named by many.
_API_WITH_ZSTD = (1, 42)


class DockerDestination:
    """The image store of a Docker-compatible engine."""

    takes_index = False

    def __init__(self, client: DockerClient, clients: Clients, repository: str = REPOSITORY) -> None:
        """Load into the engine of *client*; *clients* look up bases that the engine does not have."""
        self._client = client
        self._bases = BaseLookup(clients)
        self._repository = repository

    def stored_as(self, wanted: Compression) -> Compression:
        """Return that nothing is compressed, for nothing travels.

        Raises:
            DaemonError: zstd is wanted, and the engine is a Docker older than 23.
        """
        if wanted == "zstd":
            with engine_errors("asking for its version"):
                said = self._client.version()
            if not _takes_zstd(said):
                raise DaemonError(
                    f"the container engine is Docker {said.get('Version')}, and zstd layers need Docker 23",
                    hint="-cfg compression=gzip, or a newer engine",
                )
        return "none"

    def find_base(self, name: str, platform: str) -> Base:
        """Return the base as the engine has it, else as its registry has it; nothing is pulled yet.

        Raises:
            ImageNotFound: neither the engine nor a registry has it.
            NoSuchPlatform: not for that platform.
            DaemonError: the engine refuses.
        """
        found = self._inspect(name)
        if found is None:
            if name.startswith("sha256:"):
                raise ImageNotFound(f"the container engine has no image {name}", hint="docker images --no-trunc")
            return self._elsewhere(name, platform or self._platform(), f"the container engine has no image {name}")
        config = engine_config(found)
        wanted = Platform.parse(platform) if platform else None
        if wanted is not None and config.platform.known and not wanted.matches(config.platform):
            lacks = f"the container engine has {name} for {config.platform} alone"
            if name.startswith("sha256:"):
                raise NoSuchPlatform(lacks, hint="name an image of a registry that is there for both")
            return self._elsewhere(name, platform, lacks)
        # The engine has these layers, and recognises them by the diff ids of the config; their sizes do not matter.
        layers = tuple(Descriptor(OCI_LAYER, diff_id, 1) for diff_id in config.diff_ids)
        manifest = Manifest(OCI_MANIFEST, Descriptor(OCI_CONFIG, sha256_digest(b""), 0), layers)
        return Base(name, "", manifest, config)

    def _elsewhere(self, name: str, platform: str, why: str) -> Base:
        """Return the base as its registry has it."""
        try:
            return self._bases.find(name, platform)
        except (AuthenticationFailed, ImageNotFound, RegistryUnavailable) as error:
            raise ImageNotFound(f"{why}, and {error.message}", hint=error.hint) from error

    def confirm_base(self, base: Base) -> Base:
        """Return *base*, or what its name stands for by now, where it is a registry that holds it."""
        return self._bases.confirm(base)

    def tree_of(self, base: Base, limit: int | None) -> OpenTree:
        """Return what looks into *base* in the engine, or in its registry where the engine does not have it yet.

        Raises:
            ImageNotFound: the engine has lost it.
        """
        if base.digest:
            return self._bases.tree_of(base, limit)
        from topcoat.bases.engine_tree import EngineTree

        found = self.image_id(base.name)
        if found is None:
            raise ImageNotFound(f"the container engine has no image {base.name} any more", hint="docker images")
        return EngineTree(lambda: nullcontext(self._client), found, self._foreign_platform(base), limit)

    def image_name(self, tag: str) -> str:
        """Return the local name of the image with *tag*."""
        return f"{self._repository}:{tag}"

    def image_id(self, name: str) -> str | None:
        """Return the id of the image that the engine has as *name*, None where it has none."""
        found = self._inspect(name)
        return str(found["Id"]) if found else None

    def begin(self, build: ImageBuild, context: str) -> None:
        """Do nothing: there are no round trips to save."""

    def deliver(self, build: ImageBuild, context: str) -> DeliveryResult:
        """Load the image, unless its tag is there already.

        Raises:
            DaemonError: the engine refuses.
            WorkspaceChanged: a file is no longer what the snapshot says.
        """
        name = self.image_name(build.tag)
        there = self._inspect(name)
        if there is not None:
            return DeliveryResult(str(there["Id"]))
        if build.base.digest:
            self._pull(build.base)
        # One workspace over two bases makes two images, and each is compared with its own last version.
        where = (str(self._client.api.base_url), self._repository, build.base.name, context)
        pieces, stacked = self._plan(build, last_push_record(*where))
        archive = SparseArchive(build, pieces, stacked, name)
        try:
            loaded = self._load(name, archive)
        except DaemonError as refused:
            return self._commit(build, name, refused)
        chunks = tuple(piece.key for piece in pieces if not piece.hot)
        write_push_record(PushRecord(build.tag, chunks, tuple(loaded["RootFS"]["Layers"])), *where)
        return DeliveryResult(str(loaded["Id"]), sent=archive.sent, layers=archive.packed)

    def _load(self, name: str, archive: SparseArchive) -> dict[str, Any]:
        with engine_errors(f"loading {name}"):
            for line in self._client.api.load_image(archive.blocks()):  # type: ignore[no-untyped-call]
                if line.get("error"):
                    raise DaemonError(f"the container engine cannot load {name}: {line['error']}")
        loaded = self._inspect(name)
        if loaded is None:
            raise DaemonError(f"the container engine took {name} and does not have it")
        return loaded

    def _commit(self, build: ImageBuild, name: str, refused: DaemonError) -> DeliveryResult:
        """Make the image inside the engine, which has *refused* to load it."""
        from topcoat.destinations.commit import commit_image

        room = MAX_LAYERS - len(build.base.config.diff_ids)
        pieces = plan_layers(build.scan.snapshot, build.options, LayerCache(), room=room)
        try:
            sent = commit_image(self._client, build, pieces, name, self._foreign_platform(build.base))
            made = self._inspect(name)
            if made is None:
                raise DaemonError(f"the container engine committed {name} and does not have it")
        except DaemonError as error:
            if isinstance(error, DaemonUnavailable) and isinstance(refused, DaemonUnavailable):
                raise refused from error
            raise DaemonError(
                f"{refused}; and to copy the code into a container fails too: {error}",
                hint="push the image instead, with -cfg image_repo=REGISTRY/REPOSITORY",
            ) from error
        notice(f"{name} was committed from a container: {refused}")
        return DeliveryResult(str(made["Id"]), sent=sent, layers=len(pieces))

    def _plan(self, build: ImageBuild, last: PushRecord | None) -> tuple[list[PlannedLayer], int]:
        """Return the layers, and how many of them the engine has stacked on the base already.

        An engine knows a layer by everything below it, so only a common beginning with an image it has counts.
        """
        base, memory = build.base, LayerCache()
        room = min(SMALL_CHUNKS + LARGE_CHUNKS + 1, MAX_LAYERS - len(base.config.diff_ids))
        previous = self._inspect(self.image_name(last.tag)) if last else None
        had = tuple(previous["RootFS"]["Layers"]) if previous else ()
        if last is None or had[: len(base.config.diff_ids)] != base.config.diff_ids:
            return plan_layers(build.scan.snapshot, build.options, memory, room=room), 0
        above = had[len(base.config.diff_ids) :]
        anchor = last.chunks if build.hot else ()
        for keys in (anchor, ()):
            pieces = plan_layers(build.scan.snapshot, build.options, memory, room=room, anchor=keys)
            order = {key: position for position, key in enumerate(last.chunks)}
            pieces.sort(key=lambda piece: (piece.hot, order.get(piece.key, len(order))))
            stacked = 0
            for piece, diff_id in zip(pieces, above, strict=False):
                if piece.layer is None or piece.layer.diff_id != diff_id:
                    break
                stacked += 1
            # A layer kept from before cannot be packed again, so it has to be there.
            if not any(piece.kept for piece in pieces[stacked:]):
                break
        return pieces, stacked

    def _inspect(self, name: str) -> dict[str, Any] | None:
        from docker.errors import ImageNotFound as NotThere

        with engine_errors(f"looking up {name}"):
            try:
                found: dict[str, Any] = self._client.api.inspect_image(name)  # type: ignore[no-untyped-call]
            except NotThere:
                return None
            return found

    def _foreign_platform(self, base: Base) -> str:
        """Return the platform of *base* where the engine would take another one by itself, else nothing."""
        own, wanted = Platform.parse(self._platform()), base.config.platform
        return "" if not wanted.known or own.matches(wanted) else str(wanted)

    def _platform(self) -> str:
        with engine_errors("asking for its version"):
            version = self._client.version()
        return f"{version.get('Os') or 'linux'}/{version.get('Arch') or 'amd64'}"

    def _pull(self, base: Base) -> None:
        """Pull the very image that was looked up, and give it the name that it was looked up by.

        One for a platform that is not the engine's own does not get the name: whoever uses it next means another.
        """
        reference = Reference.parse(base.name)
        pinned = f"{reference.name}@{base.digest}"
        with engine_errors(f"pulling {base.name}"):
            login = auth_config(base.name)
            self._client.images.pull(pinned, platform=str(base.config.platform), auth_config=login)
            if reference.tag and not self._foreign_platform(base):
                self._client.api.tag(pinned, reference.name, reference.tag)


def _takes_zstd(version: dict[str, Any]) -> bool:
    """Tell by what an engine says of its version; Podman has taken zstd for longer than it has had this API."""
    numbers = tuple(int(part) for part in str(version.get("ApiVersion") or "").split(".") if part.isdecimal())
    return is_podman(version) or not numbers or numbers >= _API_WITH_ZSTD


def push_image(client: DockerClient, image: str, repository: str, tag: str) -> None:
    """Push an image that the engine holds, by its id or name, as ``repository:tag``.

    Raises:
        DaemonError: the engine has no such image, or cannot push it.
    """
    name = f"{repository}:{tag}"
    with engine_errors(f"pushing {name}"):
        client.api.tag(image, repository, tag, force=True)
        for line in client.api.push(repository, tag, stream=True, decode=True, auth_config=auth_config(name)):
            if line.get("error"):
                hint = f"docker login {repository.partition('/')[0]}, if it is not allowed"
                if "content digest" in line["error"]:
                    # The containerd store does not keep a base's layers as they were pulled for what we loaded.
                    hint = "build the workspace with -cfg image_repo=...: it is then pushed without the engine"
                raise DaemonError(f"the container engine cannot push {name}: {line['error']}", hint=hint)
