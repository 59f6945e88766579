"""Find the engine that the docker command line would use: ``DOCKER_HOST``, else the docker context in use.

``DOCKER_HOST`` wins over ``DOCKER_CONTEXT``, which wins over ``currentContext`` of ``config.json``; without any of them
it is the default socket. TLS is configured as there: ``DOCKER_TLS_VERIFY``, ``DOCKER_TLS`` and ``DOCKER_CERT_PATH`` for
``DOCKER_HOST``, a context's own files for a context.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from topcoat.errors import DaemonUnavailable
from topcoat.foreign_text import parse_json
from topcoat.http.tls import TLSSettings
from topcoat.registry.failures import redact

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
# The docker command line uses it if only DOCKER_TLS_VERIFY is set.
_DEFAULT_TLS = "tcp://localhost:2376"
_CONTEXT_HINT = "docker context ls, and docker context use NAME"
_PEMS = ("ca.pem", "cert.pem", "key.pem")


class Endpoint(NamedTuple):
    """An engine's address.

    Attributes:
        url: ``unix://``, ``tcp://``, ``ssh://`` or ``npipe://``; empty for this system's default.
        tls: None without TLS; a CA file replaces the system's authorities.
        context: name of the docker context, empty without one.
    """

    url: str
    tls: TLSSettings | None = None
    context: str = ""

    def __str__(self) -> str:
        url = redact(self.url or DEFAULT_SOCKET)
        return f"{url} (docker context {self.context})" if self.context else url


def find_endpoint(env: Mapping[str, str] = os.environ) -> Endpoint:
    """Return the address of the engine that the docker command line would use.

    Raises:
        DaemonUnavailable: the context in use does not exist or is malformed.
    """
    home = Path(env.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))
    host = env.get("DOCKER_HOST", "").strip()
    name = "" if host else env.get("DOCKER_CONTEXT") or _current_context(home)
    if name and name != "default":
        return _context(home, name)
    verify = bool(env.get("DOCKER_TLS_VERIFY"))
    uses_tls = verify or env.get("DOCKER_TLS")
    tls = _tls(Path(env.get("DOCKER_CERT_PATH") or home), verify=verify) if uses_tls else None
    return Endpoint(host or (_DEFAULT_TLS if tls and tls.verify else ""), tls)


def other_sockets(env: Mapping[str, str] = os.environ) -> list[str]:
    """Return the existing sockets of rootless Docker and of Podman, to suggest them; they are not used."""
    runtime = env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid() if hasattr(os, 'getuid') else 0}"
    paths = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock", "/run/podman/podman.sock")
    return [f"unix://{path}" for path in paths if os.access(path, os.R_OK | os.W_OK)]


def _tls(directory: Path, *, verify: bool) -> TLSSettings:
    ca, cert, key = (str(path) if path.is_file() else "" for path in map(directory.joinpath, _PEMS))
    return TLSSettings(verify, (ca,) if ca else (), ((cert, key),) if cert and key else ())


def _current_context(home: Path) -> str:
    try:
        settings = parse_json((home / "config.json").read_bytes())
    except (OSError, ValueError):
        # The reader of logins reports what is wrong with this file.
        return ""
    name = settings.get("currentContext") if isinstance(settings, dict) else None
    return name if isinstance(name, str) else ""


def _context(home: Path, name: str) -> Endpoint:
    """Read a context as the docker command line stores it."""
    key = hashlib.sha256(name.encode()).hexdigest()
    file = home / "contexts/meta" / key / "meta.json"
    try:
        endpoint: Any = parse_json(file.read_bytes())["Endpoints"]["docker"]
        url, verify = str(endpoint.get("Host") or ""), not endpoint.get("SkipTLSVerify")
    except FileNotFoundError:
        raise DaemonUnavailable(f"docker context {name!r} does not exist", hint=_CONTEXT_HINT) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"cannot read the docker context {name!r} from {file}: {error!r}"
        raise DaemonUnavailable(message, hint=_CONTEXT_HINT) from error
    directory = home / "contexts/tls" / key / "docker"
    has_tls = url.startswith("tcp:") and (not verify or directory.is_dir())
    return Endpoint(url, _tls(directory, verify=verify) if has_tls else None, name)
