"""Find the container engine as the docker command line finds it, and translate what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from topcoat.errors import DaemonError, DaemonUnavailable, MissingDependency

if TYPE_CHECKING:
    from docker import DockerClient

# Seconds. An engine that is loading a large layer says nothing for a while; one that hangs must not hang us for ever.
TIMEOUT = 300

_HINT = "start Docker (or Podman's socket), or point DOCKER_HOST or `docker context use` at one that runs"


def connect() -> DockerClient:
    """Return a client of the engine that ``DOCKER_HOST`` or the current docker context names.

    Raises:
        DaemonUnavailable: none answers there.
        MissingDependency: the docker package is not installed.
    """
    try:
        import docker
        from docker.errors import DockerException
    except ImportError as error:
        raise MissingDependency(
            "this needs the docker package, which is not installed", hint="pip install 'topcoat[docker]'"
        ) from error
    where = os.environ.get("DOCKER_HOST") or _context()
    try:
        return docker.from_env(timeout=TIMEOUT, version="auto")
    except DockerException as error:
        raise DaemonUnavailable(f"no container engine answers at {where}: {_reason(error)}", hint=_HINT) from error


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn failures of the engine while *doing* something into errors of ours."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise engine_error(doing, error) from error


def engine_error(doing: str, error: Exception) -> DaemonError:
    """Return our error for what the docker package raised while *doing* something."""
    if isinstance(error, OSError) and getattr(error, "response", None) is None:
        return DaemonUnavailable(f"{doing}: the container engine does not answer: {_reason(error)}", hint=_HINT)
    return DaemonError(f"{doing}: {getattr(error, 'explanation', None) or error}")


def _context() -> str:
    """Return a name for the docker context in use, having checked that there is one."""
    from docker.context import ContextAPI
    from docker.errors import ContextException

    name = os.environ.get("DOCKER_CONTEXT") or None
    try:
        context = ContextAPI.get_context(name)
    except ContextException as error:
        raise DaemonUnavailable(f"the docker context cannot be read: {error}", hint=_HINT) from error
    if context is None:
        raise DaemonUnavailable(f"there is no docker context {name}", hint="docker context ls")
    return context.Host or "the default socket"


def _reason(error: Exception) -> str:
    text = str(error).removeprefix("Error while fetching server API version: ")
    for known, said in (
        ("No such file or directory", "there is no such socket"),
        ("Connection refused", "connection refused"),
        ("Permission denied", "permission denied: is this user in the docker group?"),
    ):
        if known in text:
            return said
    return text
