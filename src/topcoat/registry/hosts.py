"""How to reach a registry host: schemes, certificate authorities, client certificates, who is trusted blindly.

Read from where Docker, Podman and containerd read it, so that a host that works for them works here:
``insecure-registries`` of ``daemon.json``, ``certs.d/HOST/`` with ``*.crt``, ``*.cert`` and ``*.key``, and
containerd's ``certs.d/HOST/hosts.toml`` (on Python 3.11 and later).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

_ETC = "/etc"
_HUB_ENDPOINT = "registry-1.docker.io"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", _HUB_ENDPOINT})


class HostConfig(NamedTuple):
    """How one host is reached.

    Attributes:
        schemes: what to try, in this order, until one is seen to work.
        verify: whether the TLS certificate must be valid.
        ca_files: certificate authorities on top of the system's.
        client_certs: pairs of certificate and key file.
    """

    schemes: tuple[str, ...] = ("https",)
    verify: bool = True
    ca_files: tuple[str, ...] = ()
    client_certs: tuple[tuple[str, str], ...] = ()


def endpoint(registry: str) -> str:
    """Return the host (and port) that serves the API of *registry*: Docker Hub's differs from its name."""
    return _HUB_ENDPOINT if registry in _HUB_NAMES else registry


def split_host(netloc: str) -> tuple[str, int | None]:
    """Split ``host[:port]`` or ``[v6][:port]``; the brackets go."""
    if netloc.startswith("["):
        name, _, rest = netloc[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = netloc.partition(":")
    return name, int(port) if port else None


def is_loopback(name: str) -> bool:
    """Tell whether *name* (no port) is this machine for certain: ``localhost`` or a loopback address."""
    return name in ("localhost", "::1") or (name.startswith("127.") and name.replace(".", "").isdigit())


def host_settings(registry: str, *, insecure: bool | None = None, ca_file: str | None = None) -> HostConfig:
    """Return how to reach *registry* (``host[:port]``).

    Like Docker, trust loopback hosts and ``insecure-registries`` without a valid certificate and in plain HTTP;
    unlike Docker, check a loopback certificate where a CA was given for it. Loopback is tried in plain HTTP
    first (a local registry hardly ever has TLS), others in TLS first.

    Args:
        registry: the name as in an image reference.
        insecure: True or False to decide, None to look at the configuration.
        ca_file: a PEM file with a further certificate authority.
    """
    directories = list(_certs_directories(registry))
    ca_files = ([ca_file] if ca_file else []) + [path for d in directories for path in _files(d, ".crt")]
    certs = [(path, path.removesuffix(".cert") + ".key") for d in directories for path in _files(d, ".cert")]
    extra = _containerd(registry)
    ca_files += extra.ca_files
    loopback = is_loopback(split_host(registry)[0])
    if insecure is None:
        listed = "http" in extra.schemes or not extra.verify or (not loopback and _listed_insecure(registry))
    else:
        listed = insecure
    if insecure is False:
        schemes: tuple[str, ...] = ("https",)
    elif loopback:
        schemes = ("http", "https")
    else:
        schemes = ("https", "http") if listed else ("https",)
    verify = not listed and (insecure is False or not loopback or bool(ca_files))
    return HostConfig(schemes, verify, tuple(ca_files), (*certs, *extra.client_certs))


def _listed_insecure(registry: str) -> bool:
    name = split_host(registry)[0]
    networks = []
    for path in _daemon_files():
        document = _json(path)
        listed = document.get("insecure-registries") if isinstance(document, dict) else None
        for entry in listed if isinstance(listed, list) else ():
            if entry in (registry, name):
                return True
            if isinstance(entry, str) and "/" in entry:
                networks.append(entry)
    return bool(networks) and _in_networks(name, networks)


def _in_networks(name: str, networks: list[str]) -> bool:
    import ipaddress
    import socket

    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(name, None)}
    except OSError:
        return False
    for text in networks:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        if any(ipaddress.ip_address(address) in network for address in found):
            return True
    return False


def _daemon_files() -> Iterator[str]:
    yield os.path.join(_ETC, "docker", "daemon.json")
    yield os.path.join(_config_home(), "docker", "daemon.json")
    yield os.path.join(os.path.expanduser("~"), ".docker", "daemon.json")


def _certs_directories(registry: str) -> Iterator[str]:
    # A colon cannot be part of a file name on Windows, where Docker leaves it out.
    host = registry.replace(":", "") if os.name == "nt" else registry
    home, config = os.path.expanduser("~"), _config_home()
    for root in (
        os.path.join(_ETC, "docker", "certs.d"),
        os.path.join(home, ".docker", "certs.d"),
        os.path.join(config, "docker", "certs.d"),
        os.path.join(_ETC, "containers", "certs.d"),
        os.path.join(config, "containers", "certs.d"),
    ):
        yield os.path.join(root, host)


def _config_home() -> str:
    return os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")


def _files(directory: str, suffix: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [os.path.join(directory, name) for name in sorted(names) if name.endswith(suffix)]


def _json(path: str) -> object:
    # A broken daemon.json is its daemon's affair; here it only means that nothing is listed.
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _containerd(registry: str) -> HostConfig:
    """Return what containerd's hosts.toml says of *registry* itself (mirrors are not followed)."""
    directory = os.path.join(_ETC, "containerd", "certs.d", registry)
    path = os.path.join(directory, "hosts.toml")
    document = _toml(path)
    tables = document.get("host")
    found = tables if isinstance(tables, dict) else {}
    for url, table in (*found.items(), (document.get("server"), document)):
        scheme, _, rest = str(url or "").partition("://")
        if rest.rstrip("/") == endpoint(registry) and isinstance(table, dict):
            return HostConfig(
                schemes=(scheme,),
                verify=not table.get("skip_verify", False),
                ca_files=tuple(os.path.join(directory, name) for name in _strings(table.get("ca"))),
                client_certs=tuple(
                    (os.path.join(directory, cert), os.path.join(directory, key))
                    for cert, key in _pairs(table.get("client"))
                ),
            )
    return HostConfig()


def _toml(path: str) -> dict[str, object]:
    if sys.version_info >= (3, 11) and os.path.exists(path):
        import tomllib

        try:
            with open(path, "rb") as file:
                return tomllib.load(file)
        except (OSError, ValueError):
            return {}
    return {}


def _strings(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item


def _pairs(value: object) -> Iterator[tuple[str, str]]:
    # One file with both, a list of such files, or a list of [certificate, key].
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item, item
        elif isinstance(item, list) and item:
            yield str(item[0]), str(item[-1])
