"""Base images in a container engine, which pulls what it does not have."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from topcoat.bases.base import Base, FoundBase
from topcoat.bases.engine_base import engine_base, has_image
from topcoat.bases.registry_bases import RegistryBases
from topcoat.engines.engine import engine_errors
from topcoat.errors import AuthenticationFailed, ImageNotFound, NoSuchPlatform, RegistryUnavailable
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from topcoat.oci.platform import Platform
from topcoat.registry.clients import Clients
from topcoat.tasks import TaskScope

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.rootfs.nodes import OpenTree


class EngineBases:
    """A `BaseSource` of one engine, and of registries for images that the engine must pull."""

    def __init__(self, client: DockerClient, clients: Clients) -> None:
        """Look in the engine of *client*, then in the registries of *clients*."""
        self._client = client
        self._registries = RegistryBases(clients)

    def find(self, name: str, platform: str, tasks: TaskScope) -> FoundBase:
        """Return the base as the engine has it, else as its registry has it; nothing is pulled yet."""
        try:
            base = engine_base(self._client, name, platform)
        except NoSuchPlatform as error:
            reason = f"the container engine has {name} for another platform: {error.message}"
            if name.startswith("sha256:"):
                raise
        else:
            if base is not None:
                image = _in_oci_flavour(base)
                return FoundBase(image, lambda: image)
            reason = f"the container engine has no image {name}"
            if name.startswith("sha256:"):
                raise ImageNotFound(reason, hint="docker images --no-trunc")
        try:
            return self._registries.find(name, platform or engine_platform(self._client), tasks)
        except (AuthenticationFailed, ImageNotFound, RegistryUnavailable) as error:
            raise ImageNotFound(f"{reason}, and {error.message}", hint=error.hint) from error

    def open_tree(self, base: Base, max_bytes: int | None) -> OpenTree:
        """Return the file system of *base*, from the engine or from the registry that it will be pulled from."""
        if not base.engine_id:
            return self._registries.open_tree(base, max_bytes)
        from topcoat.bases.engine_tree import EngineTree

        if not has_image(self._client, base.engine_id):
            raise ImageNotFound(f"the container engine has no image {base.name} any more", hint="docker images")
        platform = foreign_platform(self._client, base)
        return EngineTree(lambda: nullcontext(self._client), base.engine_id, platform, max_bytes)


def engine_platform(client: DockerClient) -> str:
    """Return the engine's own platform, such as ``linux/amd64``."""
    with engine_errors("asking for the engine's version"):
        version = client.version()
    return f"{version.get('Os') or 'linux'}/{version.get('Arch') or 'amd64'}"


def foreign_platform(client: DockerClient, base: Base) -> str:
    """Return the platform of *base* if the engine would choose another one by default, else an empty string."""
    own, platform = Platform.parse(engine_platform(client)), base.config.platform
    return "" if not platform.known or own.matches(platform) else str(platform)


def _in_oci_flavour(base: Base) -> Base:
    """Return *base* with OCI media types, which every engine loads."""
    manifest = base.manifest
    config = manifest.config._replace(media_type=OCI_CONFIG, digest=sha256_digest(b""))
    layers = tuple([layer._replace(media_type=OCI_LAYER) for layer in manifest.layers])
    return base._replace(manifest=manifest._replace(media_type=OCI_MANIFEST, config=config, layers=layers))
