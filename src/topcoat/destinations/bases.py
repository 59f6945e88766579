"""Look up base images in registries, and remember them: a base named by tag costs one HEAD, by digest nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from topcoat.destinations.base import Base
from topcoat.errors import ImageNotFound, InvalidImage
from topcoat.oci.config import ImageConfig
from topcoat.oci.manifest import Manifest, parse
from topcoat.oci.platform import Platform
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient
from topcoat.registry.clients import Clients
from topcoat.registry.resolve import resolve
from topcoat.state import cache_dir, write_atomic
from topcoat.tasks import Task


class BaseLookup:
    """Finds bases in registries."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._checks: dict[tuple[str, str], Task[str]] = {}

    def find(self, name: str, platform: str) -> Base:
        """Return the base called *name* for *platform* (empty: the default one).

        A base that was used before is returned from memory, and asked for in the background: `confirm` tells
        whether the name still stands for it.

        Raises:
            ImageNotFound: the registry has no such image.
            NoSuchPlatform: not for that platform.
            InvalidReference: *name* is not an image name.
        """
        if name.startswith("sha256:"):
            raise ImageNotFound(
                f"{name} is an image of this machine's container engine, and no registry knows it by that",
                hint="push it, and name it by its repository and tag",
            )
        reference = Reference.parse(name)
        remembered = _recall(name, platform)
        if remembered is None:
            return self._resolve(name, platform)
        if not reference.digest:
            client = self._clients(reference.registry)
            self._checks[name, platform] = Task(lambda: _current_digest(client, reference))
        return remembered

    def confirm(self, base: Base) -> Base:
        """Return *base* if its name still stands for it, else the base that it stands for now."""
        for (name, platform), check in list(self._checks.items()):
            if name == base.name:
                del self._checks[name, platform]
                if check.result() != base.digest:
                    return self._resolve(name, platform)
        return base

    def _resolve(self, name: str, platform: str) -> Base:
        reference = Reference.parse(name)
        wanted = Platform.parse(platform) if platform else None
        found = resolve(self._clients(reference.registry), reference, wanted)
        base = Base(
            name,
            found.digest,
            found.manifest,
            ImageConfig.parse(found.config),
            reference.registry,
            reference.repository,
        )
        _remember(base, platform, found.config)
        return base


def _current_digest(client: RegistryClient, reference: Reference) -> str:
    found = client.head_manifest(reference.repository, reference.identifier)
    if found is None:
        raise ImageNotFound(f"{reference} is no longer in its registry", hint="check the name of the base image")
    return found.digest


def _file(name: str, platform: str) -> Path:
    key = hashlib.sha256(f"{name}\0{platform}".encode()).hexdigest()[:32]
    return cache_dir("bases") / key


def _remember(base: Base, platform: str, config: bytes) -> None:
    note = {
        "digest": base.digest,
        "manifest": (base.manifest.raw or b"").decode(),
        "media_type": base.manifest.media_type,
        "config": config.decode(),
        "registry": base.registry,
        "repository": base.repository,
    }
    write_atomic(_file(base.name, platform), json.dumps(note).encode())


def _recall(name: str, platform: str) -> Base | None:
    try:
        note = json.loads(_file(name, platform).read_bytes())
        manifest = parse(note["manifest"].encode(), note["media_type"])
        if not isinstance(manifest, Manifest):
            return None
        config = ImageConfig.parse(note["config"].encode())
        return Base(name, note["digest"], manifest, config, note["registry"], note["repository"])
    except (OSError, ValueError, KeyError, TypeError, InvalidImage):
        return None
