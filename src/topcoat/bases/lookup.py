"""Look up base images in registries, and remember them: a base named by tag costs one HEAD, by digest nothing.

Where the registry says that there is no such image, the container engine of this machine may have it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topcoat.bases.base import ALL_PLATFORMS, Base
from topcoat.errors import (
    AuthenticationFailed,
    DaemonError,
    ImageNotFound,
    InvalidImage,
    MissingDependency,
    RegistryUnavailable,
    TopcoatError,
)
from topcoat.oci.config import ImageConfig
from topcoat.oci.manifest import Index, Manifest, parse
from topcoat.oci.platform import Platform
from topcoat.oci.reference import HUB, Reference
from topcoat.registry.client import RegistryClient
from topcoat.registry.clients import Clients
from topcoat.registry.resolve import resolve
from topcoat.state import cache_dir, write_atomic
from topcoat.tasks import Task

if TYPE_CHECKING:
    from topcoat.bases.engine_base import Engine
    from topcoat.rootfs.nodes import OpenTree


class BaseLookup:
    """Finds bases in registries, and those that no registry has in a container engine."""

    def __init__(self, clients: Clients, engine: Engine | None = None) -> None:
        """Look in the registries of *clients*, and then, if there is one, in *engine*."""
        self._clients = clients
        self._engine = engine
        self._checks: dict[tuple[str, str], Task[str]] = {}

    def find(self, name: str, platform: str) -> Base:
        """Return the base called *name* for *platform* (empty: the default one; ``all``: every one of its index).

        A base that was used before is returned from memory, and asked for in the background: `confirm` tells
        whether the name still stands for it.

        Raises:
            ImageNotFound: the registry has no such image, nor has the engine.
            NoSuchPlatform: not for that platform.
            InvalidReference: *name* is not an image name.
        """
        if name.startswith("sha256:"):
            return self._by_id(name, platform)
        reference = Reference.parse(name)
        remembered = _recall(name, platform)
        if remembered is None:
            return self._or_engine(name, platform, lambda: self._resolve(name, platform))
        if not reference.digest:
            client = self._clients(reference.registry)
            self._checks[name, platform] = Task(lambda: _current_digest(client, reference))
        return remembered

    def confirm(self, base: Base) -> Base:
        """Return *base* if its name still stands for it, else the base that it stands for now."""
        asked = next((key for key in self._checks if key[0] == base.name), None)
        if asked is None:
            return base
        check = self._checks.pop(asked)
        return self._or_engine(*asked, lambda: base if check.result() == base.digest else self._resolve(*asked))

    def tree_of(self, base: Base, limit: int | None) -> OpenTree:
        """Return what looks into *base* where it is, reading at most *limit* bytes of its layers."""
        if base.engine_id and self._engine is not None:
            from topcoat.bases.engine_tree import EngineTree

            return EngineTree(self._engine, base.engine_id, str(base.config.platform), limit)
        from topcoat.bases.layer_tree import LayerTree

        return LayerTree(self._clients(base.registry), base.repository, base.manifest.layers, limit)

    def _resolve(self, name: str, platform: str) -> Base:
        reference = Reference.parse(name)
        client = self._clients(reference.registry)
        if platform == ALL_PLATFORMS:
            from topcoat.bases.all_platforms import resolve_all

            base = resolve_all(client, name)
        else:
            found = resolve(client, reference, Platform.parse(platform) if platform else None)
            config = ImageConfig.parse(found.config)
            base = Base(name, found.digest, found.manifest, config, reference.registry, reference.repository)
        _remember(base, platform)
        return base

    def _or_engine(self, name: str, platform: str, ask: Callable[[], Base]) -> Base:
        """Return what a registry has, and what the engine has where the registry has no such image.

        Registries deny what does not exist, lest one learn what does. One that does not answer says nothing of the
        kind, but for the one that names without a host mean: whoever is offline means an image of this machine.
        """
        try:
            return ask()
        except (ImageNotFound, AuthenticationFailed, RegistryUnavailable) as error:
            unreachable = isinstance(error, RegistryUnavailable) and Reference.parse(name).registry != HUB
            if self._engine is None or unreachable:
                raise
            base, why = self._in_engine(self._engine, name, platform)
            if base is None:
                error.hint = f"{error.hint}; {why}" if error.hint else why
                raise
            return base

    def _by_id(self, name: str, platform: str) -> Base:
        why = ""
        if self._engine is not None:
            base, why = self._in_engine(self._engine, name, platform)
            if base is not None:
                return base
        raise ImageNotFound(
            f"{name} is an image of this machine's container engine, and no registry knows it by that",
            hint="push it, and name it by its repository and tag" + (f"; {why}" if why else ""),
        )

    def _in_engine(self, engine: Engine, name: str, platform: str) -> tuple[Base | None, str]:
        """Return the engine's image, else why there is none."""
        from topcoat.bases.engine_base import engine_base

        try:
            with engine() as client:
                found = engine_base(client, name, "" if platform == ALL_PLATFORMS else platform)
        except (DaemonError, MissingDependency) as error:
            return None, f"if it is an image of this machine's container engine: {_reason(error)}"
        return found, "this machine's container engine has no such image either: docker images"


def _reason(error: TopcoatError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)


def _current_digest(client: RegistryClient, reference: Reference) -> str:
    found = client.head_manifest(reference.repository, reference.identifier)
    if found is None:
        raise ImageNotFound(f"{reference} is no longer in its registry", hint="check the name of the base image")
    return found.digest


def _file(name: str, platform: str) -> Path:
    key = hashlib.sha256(f"{name}\0{platform}".encode()).hexdigest()[:32]
    return cache_dir("bases") / key


def _remember(base: Base, platform: str) -> None:
    whole = base.whole
    note: dict[str, object] = {
        "digest": base.digest,
        "registry": base.registry,
        "repository": base.repository,
        "images": [_noted(one) for one in base.platforms or (base,)],
    }
    if whole is not None:
        built = Index.build(media_type=whole.media_type, manifests=whole.manifests, annotations=whole.annotations)
        note["index"] = built.decode()
    write_atomic(_file(base.name, platform), json.dumps(note).encode())


def _noted(base: Base) -> dict[str, object]:
    manifest = base.manifest
    return {
        "manifest": (manifest.raw or b"").decode(),
        "media_type": manifest.media_type,
        "config": dict(base.config.document),
    }


def _recall(name: str, platform: str) -> Base | None:
    try:
        note = json.loads(_file(name, platform).read_bytes())
        bases = [_base(name, note, image) for image in note["images"]]
        index = parse(note["index"].encode()) if "index" in note else None
        if index is None:
            return bases[0]
        if not isinstance(index, Index) or len(index.manifests) != len(bases):
            return None
        return bases[0]._replace(whole=index._replace(raw=None), platforms=tuple(bases))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InvalidImage):
        return None


def _base(name: str, note: Mapping[str, Any], image: Mapping[str, Any]) -> Base:
    manifest = parse(image["manifest"].encode(), image["media_type"])
    if not isinstance(manifest, Manifest):
        raise InvalidImage("the note is of an index")
    config = ImageConfig.parse(json.dumps(image["config"]).encode())
    return Base(name, note["digest"], manifest, config, note["registry"], note["repository"])
