"""Find a builder on this machine.

In this order: BuildKit, which builds stages in parallel and supports all current instructions; the container engine's
own builder, which needs no docker command line; if no engine is available, Podman or Buildah on this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from topcoat.builders.builder import Builder
from topcoat.errors import DaemonUnavailable, MissingDependency, NeedsBuilder

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.registry.clients import Clients


def find_builder(
    connect: Callable[[], DockerClient], clients: Clients, reason: NeedsBuilder, *, command_line: bool, pushed: bool
) -> Builder:
    """Return the first builder that this machine has.

    Args:
        connect: returns the client of the container engine, or raises.
        clients: of the registries that a Dockerfile's base images come from.
        reason: names the line that needs a builder.
        command_line: the docker command line finds the same engine.
        pushed: the image goes to a repository, so the engine does not need to have it.

    Raises:
        DaemonUnavailable: no builder is available, or only one that cannot deliver to the engine.
    """
    try:
        client = connect()
    except (DaemonUnavailable, MissingDependency) as error:
        from topcoat.builders.tool_builder import tool_builder

        tool = tool_builder(clients) if pushed else None
        if tool is None:
            raise _no_builder(reason, error, pushed=pushed) from error
        return tool
    from topcoat.builders.engine_builder import engine_builder

    return engine_builder(client, clients, command_line=command_line)


def _no_builder(
    reason: NeedsBuilder, error: DaemonUnavailable | MissingDependency, *, pushed: bool
) -> DaemonUnavailable:
    if pushed:
        problem = f"this needs a builder and none is available: {error.message}; podman and buildah are not installed"
        remedies = [reason.hint, "start Docker, or install podman or buildah"]
    else:
        problem = f"this needs a container engine, which builds and keeps the image: {error.message}"
        remedies = [reason.hint, error.hint, "push the image with -cfg image_repo=REGISTRY/REPOSITORY"]
    return DaemonUnavailable(f"{reason.message}; {problem}", hint="; or ".join(filter(None, remedies)))
