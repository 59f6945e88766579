"""Hosts, ports and origins."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

MAX_URL = 16 * 1024
_HOST = r"(?=.{1,253}\Z)[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?"
_IPV6 = r"[0-9A-Fa-f:]{2,39}(?:\.[0-9]{1,3}){0,3}"
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


def parse_url(url: str) -> SplitResult:
    """Split an absolute http or https URL that somebody else wrote; user, password and fragment are dropped.

    Raises:
        ValueError: malformed; the message does not repeat the URL, which may hold a credential.
    """
    if len(url) > MAX_URL:
        raise ValueError(f"longer than {MAX_URL} characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        # An international name must be one that can be sent.
        name = host if host.isascii() else host.encode("idna").decode()
    except ValueError:
        raise ValueError("malformed") from None
    target = parts.path + parts.query
    if parts.scheme not in ("http", "https") or port == 0 or not is_host(name):
        raise ValueError("malformed")
    if not (target.isascii() and target.isprintable() and " " not in target):
        raise ValueError("characters that a URL must not have")
    return parts._replace(netloc=authority(name, port or 0), fragment="")


def is_host(name: str) -> bool:
    """Tell whether *name* is an ASCII host name or an address that can be looked up and sent in a header."""
    return bool(re.fullmatch(_IPV6 if ":" in name else _HOST, name))


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
    login = f"{username}:{password}".encode("utf-8", "surrogateescape")
    return "Basic " + binascii.b2a_base64(login, newline=False).decode()
