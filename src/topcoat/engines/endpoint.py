"""Where the docker command line would find its engine: ``DOCKER_HOST``, else the docker context in use.

``DOCKER_HOST`` wins over ``DOCKER_CONTEXT``, that over the ``currentContext`` of ``config.json``; without any it is the
default socket, root's. TLS is as there: ``DOCKER_TLS_VERIFY``, ``DOCKER_TLS`` and ``DOCKER_CERT_PATH`` for
``DOCKER_HOST``, and what a context says of itself for a context.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from topcoat.errors import DaemonUnavailable

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
# With DOCKER_TLS_VERIFY and nothing else, the command line takes this one.
_DEFAULT_TLS = "tcp://localhost:2376"
_CONTEXT_HINT = "docker context ls, and docker context use NAME"


class Tls(NamedTuple):
    """How the engine is spoken to over TLS; a path of None is a file that there is none of.

    Attributes:
        verify: whether the engine's certificate is checked.
        ca: certificates to check it with; None for the system's.
        cert: the client's certificate.
        key: its key.
    """

    verify: bool
    ca: Path | None
    cert: Path | None
    key: Path | None


class Endpoint(NamedTuple):
    """An engine's address.

    Attributes:
        url: ``unix://``, ``tcp://``, ``ssh://`` or ``npipe://``; empty for this system's default.
        tls: None without TLS.
        context: name of the docker context that says so, empty where it is none.
    """

    url: str
    tls: Tls | None = None
    context: str = ""

    def __str__(self) -> str:
        place = self.url or DEFAULT_SOCKET
        return f"{place} (docker context {self.context})" if self.context else place


def find_endpoint(env: Mapping[str, str] = os.environ) -> Endpoint:
    """Return the address of the engine that the docker command line would use.

    Raises:
        DaemonUnavailable: the context in use is not there or cannot be read.
    """
    home = Path(env.get("DOCKER_CONFIG") or Path.home() / ".docker")
    host = env.get("DOCKER_HOST", "").strip()
    name = "" if host else env.get("DOCKER_CONTEXT") or _current_context(home)
    if name and name != "default":
        return _context(home, name)
    tls = _tls_of_environment(env, home)
    return Endpoint(host or (_DEFAULT_TLS if tls and tls.verify else ""), tls)


def other_sockets(env: Mapping[str, str] = os.environ) -> list[str]:
    """Return the sockets of rootless Docker and of Podman that there are; nothing uses them unasked."""
    runtime = env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid() if hasattr(os, 'getuid') else 0}"
    places = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock", "/run/podman/podman.sock")
    return [f"unix://{place}" for place in places if os.access(place, os.R_OK | os.W_OK)]


def _tls_of_environment(env: Mapping[str, str], home: Path) -> Tls | None:
    verify = bool(env.get("DOCKER_TLS_VERIFY"))
    if not verify and not env.get("DOCKER_TLS"):
        return None
    return _tls(Path(env.get("DOCKER_CERT_PATH") or home), verify=verify)


def _tls(directory: Path, *, verify: bool) -> Tls:
    ca, cert, key = (path if path.is_file() else None for path in map(directory.joinpath, _PEMS))
    return Tls(verify, ca, cert, key)


_PEMS = ("ca.pem", "cert.pem", "key.pem")


def _current_context(home: Path) -> str:
    try:
        settings = json.loads((home / "config.json").read_bytes())
    except (OSError, ValueError):
        # Whoever asks for a login reads the same file, and says what is wrong with it.
        return ""
    found = settings.get("currentContext") if isinstance(settings, dict) else None
    return found if isinstance(found, str) else ""


def _context(home: Path, name: str) -> Endpoint:
    """Read a context as the docker command line stores it."""
    key = hashlib.sha256(name.encode()).hexdigest()
    file = home / "contexts/meta" / key / "meta.json"
    try:
        endpoint: Any = json.loads(file.read_bytes())["Endpoints"]["docker"]
        url, unchecked = str(endpoint.get("Host") or ""), bool(endpoint.get("SkipTLSVerify"))
    except FileNotFoundError:
        raise DaemonUnavailable(f"there is no docker context {name}", hint=_CONTEXT_HINT) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"the docker context {name} cannot be read from {file}: {error!r}"
        raise DaemonUnavailable(message, hint=_CONTEXT_HINT) from error
    directory = home / "contexts/tls" / key / "docker"
    secured = url.startswith("tcp:") and (unchecked or directory.is_dir())
    return Endpoint(url, _tls(directory, verify=not unchecked) if secured else None, name)
