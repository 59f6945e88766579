"""Find the container engine as the docker command line finds it, and translate what it says."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from topcoat.engines.endpoint import Endpoint, Tls, find_endpoint, other_sockets
from topcoat.errors import DaemonError, DaemonUnavailable, MissingDependency

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.tls import TLSConfig

    from topcoat.engines.ssh import SshRelay

# Seconds. An engine that is loading a large layer says nothing for a while; one that hangs must not hang us for ever.
TIMEOUT = 300

_HINT = "start Docker (or Podman's socket), or point DOCKER_HOST or `docker context use` at one that runs"


def connect() -> DockerClient:
    """Return a client of the engine that the docker command line would use (see `endpoint`).

    The API's version is the engine's, unless ``DOCKER_API_VERSION`` says otherwise.

    Raises:
        DaemonUnavailable: none answers there.
        MissingDependency: the docker package is not installed.
    """
    try:
        import docker  # noqa: F401
        from docker.errors import DockerException
        from requests.exceptions import RequestException
    except ImportError as error:
        raise MissingDependency(
            "this needs the docker package, which is not installed", hint="pip install 'topcoat[docker]'"
        ) from error
    endpoint = find_endpoint()
    relay = _relay(endpoint)
    try:
        return _client(endpoint, relay)
    except (DockerException, RequestException, ValueError) as error:  # a version that is not one is a ValueError
        said = relay.said() if relay else ""
        if relay:
            relay.close()
        raise DaemonUnavailable(
            f"no container engine answers at {endpoint}: {said or _reason(error)}", hint=_hint(endpoint)
        ) from error


def _relay(endpoint: Endpoint) -> SshRelay | None:
    if not endpoint.url.startswith("ssh:"):
        return None
    from topcoat.engines.ssh import SshRelay

    return SshRelay(endpoint.url)


def _client(endpoint: Endpoint, relay: SshRelay | None) -> DockerClient:
    import docker

    url = relay.url if relay else endpoint.url or None
    version = os.environ.get("DOCKER_API_VERSION") or "auto"
    client = docker.DockerClient(base_url=url, version=version, timeout=TIMEOUT, tls=_tls(endpoint.tls))
    if relay:
        weakref.finalize(client, relay.close)
    try:
        if version != "auto":
            # A version that was asked for is asked about: the engine may be too old or too new for it.
            client.ping()
    except BaseException:
        client.close()
        raise
    return client


def _tls(tls: Tls | None) -> TLSConfig | bool:
    if tls is None:
        return False
    from docker.tls import TLSConfig

    cert = (str(tls.cert), str(tls.key)) if tls.cert and tls.key else None
    return TLSConfig(client_cert=cert, ca_cert=str(tls.ca) if tls.ca else None, verify=tls.verify)


def _hint(endpoint: Endpoint) -> str:
    """Return what to do where no engine answers; an engine elsewhere on this machine is named, and not used unasked."""
    others = [] if endpoint.url else other_sockets()
    return f"export DOCKER_HOST={others[0]}" if others else _HINT


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn failures of the engine while *doing* something into errors of ours."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise engine_error(doing, error) from error


def is_podman(version: Mapping[str, Any]) -> bool:
    """Tell by what an engine says of its version whether it is Podman, which speaks Docker's API without BuildKit's."""
    return any("Podman" in str(component.get("Name")) for component in version.get("Components") or ())


def engine_error(doing: str, error: Exception) -> DaemonError:
    """Return our error for what the docker package raised while *doing* something."""
    if isinstance(error, OSError) and getattr(error, "response", None) is None:
        return DaemonUnavailable(f"{doing}: the container engine does not answer: {_reason(error)}", hint=_HINT)
    return DaemonError(f"{doing}: {getattr(error, 'explanation', None) or error}")


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
