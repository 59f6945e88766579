"""Bases that no registry has, and the container engine of this machine does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from topcoat.bases.base import Base
from topcoat.errors import DaemonError, DaemonUnavailable
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, Manifest, no_such_platform
from topcoat.oci.platform import Platform

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.engines.export import Export

Engine = Callable[[], AbstractContextManager["DockerClient"]]
"""Connects to the container engine, for as long as it is entered as a context manager."""

# The first versions of the API that let one ask for one platform of an image that has several.
_INSPECTS_PLATFORM = (1, 49)
_SAVES_PLATFORM = (1, 48)
# Seconds. Engines of old write the whole archive to their disk before they send the first byte of it.
_PATIENCE = 3600.0
_BLOCK = 1 << 20


@contextmanager
def open_engine() -> Iterator[DockerClient]:
    """Connect to the engine that the docker command line would use.

    Raises:
        DaemonUnavailable: none answers.
        MissingDependency: the docker package is not installed.
    """
    from topcoat.engines.endpoint import DEFAULT_SOCKET, find_endpoint

    endpoint = find_endpoint()
    scheme, _, path = (endpoint.url or DEFAULT_SOCKET).partition("://")
    # Most machines that submit to a cluster have no engine: that is no reason to import its client.
    if scheme == "unix" and sys.platform != "win32" and not os.path.exists(path):
        raise DaemonUnavailable(
            f"cannot connect to the container engine at {endpoint}: socket not found",
            hint="start Docker, or point DOCKER_HOST at an engine that runs",
        )
    from topcoat.engines.engine import connect

    client = connect()
    try:
        yield client
    finally:
        client.close()


def engine_base(client: DockerClient, name: str, platform: str) -> Base | None:
    """Return the image that the engine has as *name*, None where it has none; nothing is exported.

    The descriptors of its layers are not known yet: they stand there by their diff ids, so that they can be counted.

    Args:
        client: of the engine.
        name: as the user wrote it, or an image's id.
        platform: that the job needs; empty for the engine's choice.

    Raises:
        NoSuchPlatform: the engine has it for another platform alone.
        DaemonError: the engine refuses.
    """
    wanted = Platform.parse(platform) if platform else None
    found = _inspect(client, name, None)
    if found is None:
        return None
    # Asked for one platform, the engine gives that one's id, by which it does not know the image.
    config = engine_config((wanted and _inspect(client, name, wanted)) or found)
    if wanted is not None and config.platform.known and not wanted.matches(config.platform):
        raise no_such_platform(wanted, [config.platform])
    layers = tuple(Descriptor(DOCKER_LAYER, diff_id, 1) for diff_id in config.diff_ids)
    manifest = Manifest(DOCKER_MANIFEST, Descriptor(DOCKER_CONFIG, sha256_digest(b""), 0), layers)
    return Base(name, "", manifest, config, engine_id=str(found["Id"]))


def engine_config(found: dict[str, Any]) -> ImageConfig:
    """Make a config out of what the engine says of an image."""
    document = {
        "architecture": found.get("Architecture") or "amd64",
        "os": found.get("Os") or "linux",
        "config": found.get("Config") or {},
        "rootfs": {"type": "layers", "diff_ids": list(found["RootFS"].get("Layers") or ())},
    }
    if found.get("Variant"):
        document["variant"] = found["Variant"]
    if found.get("Created"):
        document["created"] = found["Created"]
    return ImageConfig(document)


def image_size(client: DockerClient, base: Base) -> int:
    """Return how many bytes the image takes in the engine; 0 where it does not say."""
    found = _inspect(client, base.engine_id, None) or {}
    return int(found.get("Size") or 0)


@contextmanager
def exporting(client: DockerClient, base: Base) -> Iterator[Export]:
    """Have the engine save the image of *base*, and read what it sends as it comes.

    Raises:
        DaemonError: the engine cannot, or not any more.
    """
    from topcoat.engines.engine import engine_errors
    from topcoat.engines.export import Export

    url = f"{_address(client)}/images/{quote(base.engine_id)}/get"
    with engine_errors(f"exporting {base.name}"):
        params = _chosen(base.config.platform) if _version(client) >= _SAVES_PLATFORM else {}
        response = client.api.get(url, params=params, stream=True, timeout=_PATIENCE)
        if response.status_code == 404 and params:
            # It is strict about what it has of a platform; all that it has of the image may well be enough.
            response.close()
            response = client.api.get(url, stream=True, timeout=_PATIENCE)
        with response:
            if response.status_code != 200:
                raise DaemonError(
                    f"the container engine cannot export {base.name}: {_said(response)}",
                    hint=f"see whether it can at all: docker save {base.name} | tar t",
                )
            yield Export(response.iter_content(_BLOCK), base.config.diff_ids)


def _inspect(client: DockerClient, name: str, platform: Platform | None) -> dict[str, Any] | None:
    from topcoat.engines.engine import TIMEOUT_S, engine_errors

    params = _chosen(platform) if platform is not None and _version(client) >= _INSPECTS_PLATFORM else {}
    with engine_errors(f"looking up {name}"):
        url = f"{_address(client)}/images/{quote(name, safe='/:')}/json"
        response = client.api.get(url, params=params, timeout=TIMEOUT_S)
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise DaemonError(f"the container engine cannot look up {name}: {_said(response)}")
        return cast("dict[str, Any]", response.json())


def _chosen(platform: Platform) -> dict[str, str]:
    keys = zip(("os", "architecture", "variant"), platform, strict=True)
    return {"platform": json.dumps({key: value for key, value in keys if value})}


def _address(client: DockerClient) -> str:
    return f"{client.api.base_url}/v{client.api.api_version}"


def _version(client: DockerClient) -> tuple[int, ...]:
    return tuple(int(part) for part in str(client.api.api_version).split("."))


def _said(response: Any) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, LookupError, TypeError):
        return f"{response.status_code} {response.reason}"
