"""Connect to the engine that the docker command line would use, and translate its errors."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from topcoat.engines.endpoint import DEFAULT_SOCKET, Endpoint, find_endpoint, other_sockets
from topcoat.errors import DaemonError, DaemonUnavailable, MissingDependency
from topcoat.foreign_text import escaped
from topcoat.notices import notice_if_slow

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.tls import TLSConfig

    from topcoat.engines.ssh import SshRelay
    from topcoat.http.tls import TLSSettings

# An engine is silent while it loads a large layer.
TIMEOUT_S = 300
# The first response. Over ssh, the user may have to type a passphrase.
_CONNECT_TIMEOUT_S = 30
_SSH_CONNECT_TIMEOUT_S = 120

_HINT = "start Docker (or Podman's socket), or point DOCKER_HOST or `docker context use` at one that runs"


def connect() -> DockerClient:
    """Return a client of the engine that the docker command line would use (see `endpoint`).

    The API version is the engine's unless ``DOCKER_API_VERSION`` is set.

    Raises:
        DaemonUnavailable: no engine responds there.
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
    _check_settings(endpoint)
    relay = None
    if endpoint.url.startswith("ssh:"):
        from topcoat.engines.ssh import SshRelay

        relay = SshRelay(endpoint.url)
    try:
        with notice_if_slow(f"waiting for the container engine at {endpoint}"):
            if not relay:
                _check_socket(endpoint.url or DEFAULT_SOCKET)
            return _client(endpoint, relay)
    except (DockerException, RequestException, OSError, ValueError) as error:  # a malformed version is a ValueError
        reason = _reason(error)
        if relay:
            reason = relay.last_error() or reason
            relay.close()
        # Another engine on this machine is suggested, but not used.
        others = [] if endpoint.url else other_sockets()
        hint = f"export DOCKER_HOST={others[0]}" if others else _HINT
        raise DaemonUnavailable(f"cannot connect to the container engine at {endpoint}: {reason}", hint=hint) from error


def _check_settings(endpoint: Endpoint) -> None:
    """Check what the docker package would ask about on the terminal (a key's passphrase), or repeat in its errors.

    Raises:
        DaemonUnavailable: a certificate or a proxy variable is invalid.
    """
    if not endpoint.url.startswith("tcp:"):
        return
    from topcoat.http.errors import InvalidSettings
    from topcoat.http.origin import Origin
    from topcoat.http.proxy import proxy_for
    from topcoat.http.tls import tls_context

    try:
        origin = Origin.of(endpoint.url.replace("tcp:", "https:" if endpoint.tls else "http:", 1))
        proxy_for(origin)
        if endpoint.tls:
            tls_context(endpoint.tls)
    except InvalidSettings as error:
        raise DaemonUnavailable(f"cannot connect to the engine at {endpoint}: {error}", hint=error.hint) from error
    except ValueError:
        raise DaemonUnavailable(f"invalid engine address {str(endpoint)!r}", hint="tcp://HOST:PORT") from None


def _check_socket(url: str) -> None:
    """Connect to a unix socket once: the docker package does not close one that it cannot connect."""
    import socket

    if url.startswith("unix://") and hasattr(socket, "AF_UNIX"):
        with socket.socket(socket.AF_UNIX) as sock:
            # Without it, this would wait for an engine that no longer accepts connections.
            sock.settimeout(_CONNECT_TIMEOUT_S)
            sock.connect(url.removeprefix("unix://"))


def _client(endpoint: Endpoint, relay: SshRelay | None) -> DockerClient:
    import docker

    url = relay.url if relay else endpoint.url or None
    version = os.environ.get("DOCKER_API_VERSION") or "auto"
    timeout = _SSH_CONNECT_TIMEOUT_S if relay else _CONNECT_TIMEOUT_S
    client = docker.DockerClient(base_url=url, version=version, timeout=timeout, tls=_tls(endpoint.tls))
    if relay:
        weakref.finalize(client, relay.close)
    try:
        if version != "auto":
            # The engine may not support the requested version.
            client.ping()
    except BaseException:
        client.close()
        raise
    client.api.timeout = TIMEOUT_S
    return client


def _tls(tls: TLSSettings | None) -> TLSConfig | bool:
    if tls is None:
        return False
    from docker.tls import TLSConfig

    ca, cert = next(iter(tls.ca_files), None), next(iter(tls.client_certs), None)
    return TLSConfig(client_cert=cert, ca_cert=ca, verify=tls.verify)


@contextmanager
def engine_errors(doing: str, *, shows_output: bool = False) -> Iterator[None]:
    """Translate errors of the docker package while *doing* something (``pulling X``).

    If it takes long, a notice says so, unless it *shows_output* meanwhile.
    """
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        with nullcontext() if shows_output else notice_if_slow(f"waiting for the container engine: {doing}"):
            yield
    except (DockerException, RequestException) as error:
        if isinstance(error, OSError) and getattr(error, "response", None) is None:
            message = f"{doing}: the container engine does not respond: {_reason(error)}"
            raise DaemonUnavailable(message, hint=_HINT) from error
        raise DaemonError(f"{doing}: {escaped(str(getattr(error, 'explanation', None) or error))}") from error


def is_podman(version: Mapping[str, Any]) -> bool:
    """Tell by the response to ``/version`` whether the engine is Podman, which has Docker's API, but no BuildKit."""
    return any("Podman" in str(component.get("Name")) for component in version.get("Components") or ())


def _reason(error: Exception) -> str:
    text = str(error).removeprefix("Error while fetching server API version: ")
    reasons = {
        "No such file or directory": "socket not found",
        "Connection refused": "connection refused",
        "Permission denied": "permission denied: is this user in the docker group?",
        "timed out": "it accepts connections and does not respond",
    }
    return next((reason for part, reason in reasons.items() if part in text), escaped(text))
