"""Lay code over an image inside an engine that does not load our archive: copy it into a container, and commit that.

The container is made from the base and never started. What comes of it is one layer that the engine makes, whose diff
id only the engine knows: the image does not list its code layers.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from topcoat.bases.base import Base
from topcoat.destinations.base import ImageBuild
from topcoat.engines.engine import engine_errors
from topcoat.errors import DaemonError
from topcoat.oci.config import ImageConfig
from topcoat.oci.reference import Reference
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.plan import PlannedLayer

if TYPE_CHECKING:
    from docker import DockerClient

# A container has to have a command, even one that is never started and whose image has none.
_NO_COMMAND = ["true"]


def commit_image(
    client: DockerClient, build: ImageBuild, pieces: list[PlannedLayer], name: str, platform: str = ""
) -> int:
    """Make *build* in the engine of *client*, which has its base, as *name* (``repository:tag``).

    Args:
        client: of the engine.
        build: the image.
        pieces: its layers; each can be packed from the workspace.
        name: what the image is called.
        platform: of the base, where it is not the engine's own.

    Returns:
        Bytes of the layers that were sent.

    Raises:
        DaemonError: the engine refuses, or the code would land in a volume of the base.
        WorkspaceChanged: a file is no longer what the snapshot says.
    """
    settings = dict(ImageConfig.parse(build.patch([]).config).settings)
    _check_volumes(settings, build)
    if not settings.get("Cmd") and not settings.get("Entrypoint"):
        settings["Cmd"] = _NO_COMMAND
    repository, _, tag = name.rpartition(":")
    memory, sent = LayerCache(), 0
    with engine_errors(f"making {name} with a container"):
        made: dict[str, Any] = client.api.create_container_from_config(  # type: ignore[no-untyped-call]
            {**settings, "Image": _pinned(build.base)}, platform=platform or None
        )
        container = str(made["Id"])
        try:
            for piece in pieces:
                layer, blob = build.pack(piece, memory)
                with blob:
                    client.api.put_archive(container, "/", blob)
                sent += layer.size
            client.api.commit(container, repository, tag, pause=False)
        finally:
            # The failure that led here says more than one to tidy up.
            with suppress(DaemonError), engine_errors("removing a container"):
                client.api.remove_container(container, v=True, force=True)
    return sent


def _pinned(base: Base) -> str:
    """Return what the engine knows *base* by: a name is kept for images of its own platform."""
    return f"{Reference.parse(base.name).name}@{base.digest}" if base.digest else base.name


def _check_volumes(settings: dict[str, Any], build: ImageBuild) -> None:
    """Refuse to copy into a volume: it is not part of what is committed."""
    target = build.options.target
    prefix = target + b"/" if target else b""
    for volume in settings.get("Volumes") or ():
        name = os.fsencode(str(volume).strip("/"))
        place = name + b"/" if name else b""
        if prefix.startswith(place) or any((prefix + entry.path).startswith(place) for entry in build.scan.snapshot):
            raise DaemonError(f"the code would land in {volume}, which is a volume of the image")
