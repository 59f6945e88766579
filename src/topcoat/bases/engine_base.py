"""An image of the container engine as a base: its config, and its layers as the engine saves them."""

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

OpenEngine = Callable[[], AbstractContextManager["DockerClient"]]
"""Connects to the container engine for the length of a ``with`` block."""

# The first API versions that can select one platform of an image for several platforms.
_MIN_API_INSPECT_PLATFORM = (1, 49)
_MIN_API_SAVE_PLATFORM = (1, 48)
# Older engines write the whole archive to their disk before they send its first byte.
_EXPORT_TIMEOUT_S = 3600.0
_BLOCK = 1 << 20


@contextmanager
def open_engine() -> Iterator[DockerClient]:
    """Connect to the engine that the docker command line would use.

    Raises:
        DaemonUnavailable: no engine answers.
        MissingDependency: the docker package is not installed.
    """
    from topcoat.engines.endpoint import DEFAULT_SOCKET, find_endpoint

    endpoint = find_endpoint()
    scheme, _, path = (endpoint.url or DEFAULT_SOCKET).partition("://")
    # Most machines that submit to a cluster have no engine: do not import its client there.
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
    """Return the engine's image *name*, None if it has no such image; nothing is exported.

    An engine does not report the descriptors of layers, so the manifest lists diff ids instead. *name* may be an
    image's id; *platform* is what the job needs, empty for the engine's choice.

    Raises:
        NoSuchPlatform: the engine has the image for another platform.
        DaemonError: the engine refuses.
    """
    wanted = Platform.parse(platform) if platform else None
    image = inspect_image(client, name)
    if image is None:
        return None
    # For one platform, the engine returns the id of that platform's image, which it cannot look up.
    config = _config((wanted and inspect_image(client, name, wanted)) or image)
    if wanted is not None and config.platform.known and not wanted.matches(config.platform):
        raise no_such_platform(wanted, [config.platform])
    layers = tuple(Descriptor(DOCKER_LAYER, diff_id, 1) for diff_id in config.diff_ids)
    manifest = Manifest(DOCKER_MANIFEST, Descriptor(DOCKER_CONFIG, sha256_digest(b""), 0), layers)
    return Base(name, "", manifest, config, engine_id=str(image["Id"]))


def has_image(client: DockerClient, name: str) -> bool:
    """Tell whether the engine has the image *name*."""
    return inspect_image(client, name) is not None


def _config(image: dict[str, Any]) -> ImageConfig:
    """Return the image config for the engine's description of an image."""
    document = {
        "architecture": image.get("Architecture") or "amd64",
        "os": image.get("Os") or "linux",
        "config": image.get("Config") or {},
        "rootfs": {"type": "layers", "diff_ids": list(image["RootFS"].get("Layers") or ())},
    }
    document.update({key.lower(): image[key] for key in ("Variant", "Created") if image.get(key)})
    return ImageConfig(document)


def image_size(client: DockerClient, base: Base) -> int:
    """Return the size of the image in the engine, in bytes; 0 if the engine does not report it."""
    image = inspect_image(client, base.engine_id) or {}
    return int(image.get("Size") or 0)


@contextmanager
def exporting(client: DockerClient, base: Base) -> Iterator[Export]:
    """Let the engine save the image of *base*; the archive is read as it arrives.

    Raises:
        DaemonError: the engine has no such image any more, or cannot save it.
    """
    from topcoat.engines.engine import engine_errors
    from topcoat.engines.export import Export

    url = f"{_address(client)}/images/{quote(base.engine_id)}/get"
    with engine_errors(f"exporting {base.name}"):
        params = _params(base.config.platform) if _version(client) >= _MIN_API_SAVE_PLATFORM else {}
        response = client.api.get(url, params=params, stream=True, timeout=_EXPORT_TIMEOUT_S)
        if response.status_code == 404 and params:
            # The engine may have only a part of the platform's image: what it has may still be enough.
            response.close()
            response = client.api.get(url, stream=True, timeout=_EXPORT_TIMEOUT_S)
        with response:
            if response.status_code != 200:
                raise DaemonError(
                    f"the container engine cannot export {base.name}: {_message(response)}",
                    hint=f"check whether it can: docker save {base.name} | tar t",
                )
            yield Export(response.iter_content(_BLOCK), base.config.diff_ids)


def inspect_image(client: DockerClient, name: str, platform: Platform | None = None) -> dict[str, Any] | None:
    """Return the engine's description of the image *name*, for *platform* if the engine can select one.

    None means that it has no such image; ``DaemonError`` that it refuses.
    """
    from topcoat.engines.engine import TIMEOUT_S, engine_errors

    params = _params(platform) if platform is not None and _version(client) >= _MIN_API_INSPECT_PLATFORM else {}
    with engine_errors(f"looking up {name}"):
        url = f"{_address(client)}/images/{quote(name, safe='/:')}/json"
        response = client.api.get(url, params=params, timeout=TIMEOUT_S)
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise DaemonError(f"the container engine cannot look up {name}: {_message(response)}")
        return cast("dict[str, Any]", response.json())


def _params(platform: Platform) -> dict[str, str]:
    keys = zip(("os", "architecture", "variant"), platform, strict=True)
    return {"platform": json.dumps({key: value for key, value in keys if value})}


def _address(client: DockerClient) -> str:
    return f"{client.api.base_url}/v{client.api.api_version}"


def _version(client: DockerClient) -> tuple[int, ...]:
    return tuple(int(part) for part in str(client.api.api_version).split("."))


def _message(response: Any) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, LookupError, TypeError):
        return f"{response.status_code} {response.reason}"
