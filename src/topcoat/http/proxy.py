"""Which proxy, if any, stands between here and a host: ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``.

The rules are those of Go's ``httpproxy``, so of Docker: a variable in lower case counts where the one in upper
case is not set, loopback is never proxied, and an entry of ``NO_PROXY`` is ``*``, an address, a network
(``10.0.0.0/8``) or a domain with its subdomains (``.corp`` for the subdomains alone), each with an optional port.
"""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from topcoat.errors import RegistryUnavailable
from topcoat.registry.hosts import is_loopback


class Proxy(NamedTuple):
    """An HTTP proxy.

    Attributes:
        host: its name.
        port: its port.
        headers: ``Proxy-Authorization``, where the URL holds a user name.
    """

    host: str
    port: int
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy for requests to ``scheme://host:port``, None for a direct connection.

    Raises:
        RegistryUnavailable: the variable names a kind of proxy that is not supported.
    """
    variable = "HTTPS_PROXY" if scheme == "https" else "HTTP_PROXY"
    url = os.environ.get(variable) or os.environ.get(variable.lower()) or ""
    if not url or is_loopback(host) or _excluded(host, port):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise RegistryUnavailable(
            f"{variable} names a proxy of kind {parts.scheme!r}, and only http:// proxies are supported",
            hint=f"set {variable}=http://HOST:PORT, or add {host} to NO_PROXY",
        )
    headers = {}
    if parts.username is not None:
        from topcoat.registry.credentials import basic

        headers["Proxy-Authorization"] = basic(unquote(parts.username), unquote(parts.password or ""))
    return Proxy(parts.hostname, parts.port or 80, headers)


def _excluded(host: str, port: int) -> bool:
    entries = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    host = host.lower().rstrip(".")
    return any(_covers(entry.strip().lower(), host, port) for entry in entries.split(",") if entry.strip())


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(entry, host)
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.startswith("[")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*")
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry or host.endswith(f".{entry}")


def _in_network(entry: str, host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
