"""Hosts, ports and origins."""

from __future__ import annotations

import binascii
from typing import NamedTuple
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port: what credentials are bound to (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of *url*."""
        parts = urlsplit(url)
        return cls(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0))

    @property
    def authority(self) -> str:
        """``host[:port]`` as in a URL, without the scheme's default port."""
        return authority(self.host, self.port, default=_DEFAULT_PORTS.get(self.scheme, 0))


def authority(host: str, port: int, *, default: int = 0) -> str:
    """Return ``host:port`` as in a URL; a *default* port is omitted."""
    name = host if host.isascii() else host.encode("idna").decode()
    name = f"[{name}]" if ":" in name else name
    return name if port == default else f"{name}:{port}"


def split_host(netloc: str) -> tuple[str, int | None]:
    """Split ``host[:port]`` or ``[v6][:port]``; the brackets are removed."""
    if netloc.startswith("["):
        name, _, rest = netloc[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = netloc.partition(":")
    return name, int(port) if port else None


def is_loopback(host: str) -> bool:
    """Tell whether *host* (no port) is ``localhost`` or a loopback address; no name is resolved."""
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit())


def basic(username: str, password: str) -> str:
    """Return the value of an ``Authorization`` header for Basic authentication (RFC 7617)."""
    return "Basic " + binascii.b2a_base64(f"{username}:{password}".encode(), newline=False).decode()
