"""Base images in registries. If a registry has no such image, this machine's container engine may have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from topcoat.bases.base import ALL_PLATFORMS, Base, BaseIndex, FoundBase, images_of
from topcoat.bases.base_cache import get_base, put_base
from topcoat.errors import (
    AuthenticationFailed,
    DaemonError,
    ImageNotFound,
    MissingDependency,
    RegistryUnavailable,
    TopcoatError,
)
from topcoat.oci.config import ImageConfig
from topcoat.oci.platform import Platform
from topcoat.oci.reference import HUB, Reference
from topcoat.registry.client import RegistryClient
from topcoat.registry.clients import Clients
from topcoat.registry.resolve import resolve
from topcoat.tasks import TaskScope

if TYPE_CHECKING:
    from topcoat.bases.engine_base import OpenEngine
    from topcoat.rootfs.nodes import OpenTree


class RegistryBases:
    """A `BaseSource` of registries, with a container engine to fall back to."""

    def __init__(self, clients: Clients, engine: OpenEngine | None = None) -> None:
        """Look in the registries of *clients*, then in *engine* if one is given."""
        self._clients = clients
        self._engine = engine

    def find(self, name: str, platform: str, tasks: TaskScope) -> FoundBase:
        """Return the base from the cache while a HEAD request checks its digest, else read it."""
        if name.startswith("sha256:"):
            base = self._by_id(name, platform)
            return FoundBase(base, lambda: base)
        reference = Reference.parse(name)
        cached = get_base(name, platform)
        if cached is None:
            read = self._or_engine(name, platform, lambda: self._read(name, platform))
            return FoundBase(read, lambda: read)
        if reference.digest:
            return FoundBase(cached, lambda: cached)
        client = self._clients(reference.registry)
        current = tasks.start(lambda: _current_digest(client, reference))

        def get_current() -> Base | BaseIndex:
            return cached if current.result() == images_of(cached)[0].digest else self._read(name, platform)

        return FoundBase(cached, lambda: self._or_engine(name, platform, get_current))

    def open_tree(self, base: Base, max_bytes: int | None) -> OpenTree:
        """Return the file system of *base*, reading at most *max_bytes* of its layers."""
        if base.engine_id and self._engine is not None:
            from topcoat.bases.engine_tree import EngineTree

            return EngineTree(self._engine, base.engine_id, str(base.config.platform), max_bytes)
        from topcoat.bases.layer_tree import LayerTree

        return LayerTree(self._clients(base.registry), base.repository, base.manifest.layers, max_bytes)

    def _read(self, name: str, platform: str) -> Base | BaseIndex:
        reference = Reference.parse(name)
        client = self._clients(reference.registry)
        base: Base | BaseIndex
        if platform == ALL_PLATFORMS:
            from topcoat.bases.all_platforms import resolve_all

            base = resolve_all(client, name)
        else:
            image = resolve(client, reference, Platform.parse(platform) if platform else None)
            config = ImageConfig.parse(image.config).complete(image.platform)
            base = Base(name, image.digest, image.manifest, config, reference.registry, reference.repository)
        put_base(base, platform)
        return base

    def _or_engine(self, name: str, platform: str, get_current: Callable[[], Base | BaseIndex]) -> Base | BaseIndex:
        """Return what *get_current* returns, or the engine's image if the registry has none.

        401 and 403 may mean "does not exist", so they fall back to the engine too. An unreachable registry falls back
        only for names without a host: offline, such a name can only mean an image of this machine.
        """
        try:
            return get_current()
        except (ImageNotFound, AuthenticationFailed, RegistryUnavailable) as error:
            unreachable = isinstance(error, RegistryUnavailable) and Reference.parse(name).registry != HUB
            if self._engine is None or unreachable:
                raise
            base, reason = self._in_engine(self._engine, name, platform)
            if base is None:
                error.hint = f"{error.hint}; {reason}" if error.hint else reason
                raise
            return base

    def _by_id(self, name: str, platform: str) -> Base:
        reason = ""
        if self._engine is not None:
            base, reason = self._in_engine(self._engine, name, platform)
            if base is not None:
                return base
        raise ImageNotFound(
            f"{name} is the id of an image in a container engine; registries do not know such ids",
            hint="push it, and name it by its repository and tag" + (f"; {reason}" if reason else ""),
        )

    def _in_engine(self, engine: OpenEngine, name: str, platform: str) -> tuple[Base | None, str]:
        """Return the engine's image, or None and the reason."""
        from topcoat.bases.engine_base import engine_base

        try:
            with engine() as client:
                base = engine_base(client, name, "" if platform == ALL_PLATFORMS else platform)
        except (DaemonError, MissingDependency) as error:
            return None, f"if it is an image of this machine's container engine: {_with_hint(error)}"
        return base, "this machine's container engine has no such image either: docker images"


def _with_hint(error: TopcoatError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)


def _current_digest(client: RegistryClient, reference: Reference) -> str:
    descriptor = client.head_manifest(reference.repository, reference.identifier)
    if descriptor is None:
        raise ImageNotFound(f"{reference} is no longer in its registry", hint="check the name of the base image")
    return descriptor.digest
