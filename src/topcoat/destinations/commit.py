"""Add code to an image inside an engine that does not load our archive: copy it into a container, and commit that.

The container is made from the base and never started. The result has one layer, made by the engine, whose diff id only
the engine knows: the image does not list its code layers.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from topcoat.bases.base import Base
from topcoat.destinations.code_layers import CodeLayers
from topcoat.engines.engine import engine_errors
from topcoat.errors import DaemonError
from topcoat.images.image_build import ImageBuild
from topcoat.oci.config import ImageConfig
from topcoat.oci.reference import Reference
from topcoat.pack.plan import PlannedLayer
from topcoat.scan.snapshot import Snapshot

if TYPE_CHECKING:
    from docker import DockerClient

# A container must have a command, even if it is never started.
_NO_COMMAND = ["true"]


def commit_image(
    client: DockerClient,
    build: ImageBuild,
    code_layers: CodeLayers,
    planned: list[PlannedLayer],
    name: str,
    platform: str = "",
) -> int:
    """Make *build* in the engine of *client*, which has its base, as *name* (``repository:tag``).

    Each of the *planned* layers can be packed from the workspace; *platform* is that of the base, if it is not the
    engine's own. Return the bytes of the layers that were sent.

    Raises:
        DaemonError: the engine refuses, or the code would be in a volume of the base.
        WorkspaceChanged: a file is no longer what the snapshot says.
    """
    (image,) = build.images
    settings = dict(ImageConfig.parse(image.patch([]).config).settings)
    _check_volumes(settings, build.scan.snapshot, image.pack.target)
    if not settings.get("Cmd") and not settings.get("Entrypoint"):
        settings["Cmd"] = _NO_COMMAND
    repository, _, tag = name.rpartition(":")
    sent = 0
    with engine_errors(f"making {name} with a container"):
        created: dict[str, Any] = client.api.create_container_from_config(  # type: ignore[no-untyped-call]
            {**settings, "Image": _pinned(image.base)}, platform=platform or None
        )
        container = str(created["Id"])
        try:
            for layer in planned:
                packed, blob = code_layers.pack(layer, image.pack)
                with blob:
                    client.api.put_archive(container, "/", blob)
                sent += packed.size
            client.api.commit(container, repository, tag, pause=False)
        finally:
            # The error that led here matters more than one of the removal.
            with suppress(DaemonError), engine_errors("removing a container"):
                client.api.remove_container(container, v=True, force=True)
    return sent


def _pinned(base: Base) -> str:
    """Return the name of *base* in the engine; names without digest are for its own platform."""
    return f"{Reference.parse(base.name).name}@{base.digest}" if base.digest else base.name


def _check_volumes(settings: dict[str, Any], snapshot: Snapshot, target: bytes) -> None:
    """Refuse to copy into a volume: volumes are not committed."""
    prefix = target + b"/" if target else b""
    for volume in settings.get("Volumes") or ():
        name = os.fsencode(str(volume).strip("/"))
        directory = name + b"/" if name else b""
        if prefix.startswith(directory) or any((prefix + entry.path).startswith(directory) for entry in snapshot):
            raise DaemonError(f"the code would be in {volume}, which is a volume of the image")
