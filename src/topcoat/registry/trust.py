"""Where a credential may go, and which hosts a registry may name: every such decision is made here.

The rule for credentials: a credential (a header, the body of a token request) reaches the origin that it belongs to,
and the token service that this origin itself named, over TLS; if the registry is reached in plain HTTP, whose
challenges anybody on the way can forge, only a token service on the same host. Nothing learnt from the target of a
redirect counts, and a request with a credential is not repeated at another origin. ``http.proxy`` keeps a proxy's login
to connections with that proxy.

The rule for hosts: a registry on a public address may not name a host on a private one, which could make this machine
send requests into its own network; link-local addresses, where clouds serve machine credentials, are never contacted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from topcoat.errors import RegistryError
from topcoat.http.origin import Origin
from topcoat.http.pool import Response
from topcoat.http.proxy import is_listed
from topcoat.http.request import Request
from topcoat.registry.failures import redact

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

ALLOW_PRIVATE = "TOPCOAT_ALLOW_PRIVATE_REDIRECTS"
"""Variable with hosts, in the grammar of ``NO_PROXY``, that public registries may name despite a private address."""


def may_sign(url: str, base: str) -> bool:
    """Tell whether a request to *url* may carry the credential of the registry at *base*."""
    return Origin.of(url) == Origin.of(base)


def may_challenge(response: Response, base: str) -> bool:
    """Tell whether a 401 is the registry's own, so that it may name a token service."""
    return not response.left_origin and may_sign(response.url, base)


def check_token_service(realm: str, base: str, *, has_credential: bool) -> None:
    """Refuse to send a credential to a token service that somebody else than the registry may have named.

    Raises:
        RegistryError: *realm* is not encrypted, or the registry at *base* is not, and the hosts differ.
    """
    registry, service = Origin.of(base), Origin.of(realm)
    if registry.scheme == "https" and service.scheme != "https":
        raise RegistryError(
            f"{registry.authority} names the token service {redact(realm)}, which is not encrypted",
            hint="the registry's own URL is configured wrongly there: it must be https",
        )
    if has_credential and registry.scheme != "https" and registry.host != service.host:
        raise RegistryError(
            f"{registry.authority} is reached in plain HTTP and names the token service {redact(realm)} on another "
            "host: the login is not sent there",
            hint=f"serve {registry.authority} with TLS, or docker logout {registry.authority} if it needs no login",
        )


def follow(request: Request, target: str, *, bound: bool) -> Request:
    """Return *request* as it is repeated at the *target* of a redirect: without a credential at another origin.

    Raises:
        RegistryError: the request is *bound* to its origin, because a token service gets a credential by it.
    """
    if Origin.of(target) == Origin.of(request.url):
        return request._replace(url=target)
    if bound:
        raise RegistryError(
            f"the token service {redact(request.url)} redirects to {redact(target)}: the login is not sent there",
            hint="the registry's token service is configured wrongly there",
        )
    headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
    return request._replace(url=target, headers=headers)


def check_session(location: str, response: Response, base: str) -> None:
    """Refuse an upload session at the registry that another host names: requests to it would be signed.

    Raises:
        RegistryError: it is one.
    """
    is_own = not response.left_origin and Origin.of(response.url).host == Origin.of(base).host
    if may_sign(location, base) and not is_own:
        raise RegistryError(f"{redact(response.url)} names an upload session at another host: {redact(location)}")


def check_address(address: str, target: Origin, registry: str, *, allow_private: bool) -> None:
    """Refuse the resolved *address* of a host that *registry* names.

    Raises:
        RegistryError: it is link-local, or private while the registry is public and the user does not allow the host.
    """
    ip = _parse(address)
    where = target.host if target.host == address else f"{target.host} ({address})"
    if ip.is_link_local:
        raise RegistryError(f"{registry} points to {where}, a link-local address: such hosts are never contacted")
    allowed = os.environ.get(ALLOW_PRIVATE, "")
    if allow_private or ip.is_global or any(is_listed(host, target.port, allowed) for host in (target.host, str(ip))):
        return
    raise RegistryError(
        f"{registry} points to {where}, an address of a private network",
        hint=f"if that is right, allow the host: export {ALLOW_PRIVATE}={target.host}",
    )


def is_private(address: str) -> bool:
    """Tell whether a resolved address is not a public one; False for an empty one."""
    return bool(address) and not _parse(address).is_global


def _parse(address: str) -> IPv4Address | IPv6Address:
    """Return *address*, or the IPv4 address that an IPv6 one leads to (mapped, 6to4, NAT64)."""
    import ipaddress

    ip = ipaddress.ip_address(address.partition("%")[0])
    if not isinstance(ip, ipaddress.IPv6Address):
        return ip
    nat64 = ipaddress.IPv4Address(ip.packed[12:]) if ip in ipaddress.ip_network("64:ff9b::/96") else None
    return ip.ipv4_mapped or ip.sixtofour or nat64 or ip


def literal_address(host: str) -> str:
    """Return the address that *host* spells, in any notation that resolvers accept; empty for a name."""
    import socket

    if host == "localhost":
        return "127.0.0.1"
    try:
        # inet_aton accepts whatever the resolver does: 0x7f.1 and 2130706433 are addresses too.
        if ":" not in host:
            return socket.inet_ntoa(socket.inet_aton(host))
        return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))
    except OSError:
        return ""
