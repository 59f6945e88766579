"""Find the proxy for a host: ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``.

The rules are those of Go's ``httpproxy``, and so of Docker: the upper-case variable wins over the lower-case one,
loopback is never proxied, and an entry of ``NO_PROXY`` is ``*``, an address, a network (``10.0.0.0/8``) or a domain
with its subdomains (``.corp`` for the subdomains only), each with an optional port.
"""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from topcoat.http.errors import InvalidSettings
from topcoat.http.origin import Origin, authority, basic, is_host, is_loopback


class Proxy(NamedTuple):
    """An HTTP proxy; *headers* holds ``Proxy-Authorization`` if its URL has a user name."""

    host: str
    port: int
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"Proxy({self})"

    def __str__(self) -> str:
        return authority(self.host, self.port)


def proxy_for(origin: Origin) -> Proxy | None:
    """Return the proxy for requests to *origin*, None for a direct connection.

    Raises:
        InvalidSettings: the variable is malformed or names an unsupported kind of proxy.
    """
    variable = "HTTPS_PROXY" if origin.scheme == "https" else "HTTP_PROXY"
    url = os.environ.get(variable) or os.environ.get(variable.lower()) or ""
    if not url or is_loopback(origin.host) or is_listed(origin.host, origin.port, _no_proxy()):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port or 80
        # A "#", "?" or "/" in a password ends the host too early: the rest is then no path of a proxy.
        is_valid = parts.scheme == "http" and is_host(host) and parts.path in ("", "/") and not {"?", "#"} & {*url}
    except ValueError:
        is_valid = False
    if not is_valid:
        # The value may hold a password, so it is not shown.
        raise InvalidSettings(
            f"invalid {variable}: expected http://[USER:PASSWORD@]HOST[:PORT]",
            f"write special characters of the password in {variable} as %XX (# is %23, / is %2F, @ is %40); only "
            f"http:// proxies are supported; to use none, add {origin.host} to NO_PROXY",
        )
    headers = {}
    if parts.username is not None:
        login = (unquote(text or "", errors="surrogateescape") for text in (parts.username, parts.password))
        headers["Proxy-Authorization"] = basic(*login)
    return Proxy(host, port, headers)


def _no_proxy() -> str:
    return os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""


def is_listed(host: str, port: int, entries: str) -> bool:
    """Tell whether *entries*, in the grammar of ``NO_PROXY``, cover *host*."""
    host = host.lower().rstrip(".")
    return any(_covers(entry.strip().lower(), host, port) for entry in entries.split(",") if entry.strip())


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(entry, host)
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.startswith("[")):
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
