"""How to reach a registry host: schemes, certificate authorities, client certificates, and whether TLS is verified.

The settings are those of Docker, Podman and containerd, so that a host that works for them works here:
``insecure-registries`` of ``daemon.json``, ``certs.d/HOST/`` with ``*.crt``, ``*.cert`` and ``*.key``, and
containerd's ``certs.d/HOST/hosts.toml`` (on Python 3.11 and later).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from topcoat.http.origin import is_loopback, split_host
from topcoat.http.tls import TLSSettings

_ETC = "/etc"
_HUB_ENDPOINT = "registry-1.docker.io"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", _HUB_ENDPOINT})


class HostConfig(NamedTuple):
    """How one host is reached: the schemes to try, in order, and the TLS settings."""

    schemes: tuple[str, ...] = ("https",)
    tls: TLSSettings = TLSSettings()


def endpoint(registry: str) -> str:
    """Return the host (and port) that serves the API of *registry*: Docker Hub's differs from its name."""
    return _HUB_ENDPOINT if registry in _HUB_NAMES else registry


def host_settings(registry: str, *, insecure: bool | None = None, ca_file: str | None = None) -> HostConfig:
    """Return how to reach *registry* (``host[:port]``).

    As in Docker, loopback hosts and ``insecure-registries`` may use invalid certificates and plain HTTP. Unlike in
    Docker, a loopback certificate is verified if a CA for that host is configured. Loopback is tried in plain HTTP
    first (a local registry rarely has TLS), other hosts in TLS first.

    Args:
        registry: the name as in an image reference.
        insecure: True or False to override the configuration, None to read it.
        ca_file: a PEM file with an additional certificate authority.
    """
    # On Windows, a file name has no colon, and Docker drops it.
    host = registry.replace(":", "") if os.name == "nt" else registry
    roots = [*_directories("docker"), *_directories("containers")]
    directories = [os.path.join(root, "certs.d", host) for root in roots]
    containerd = _containerd(registry)
    ca_files = [*([ca_file] if ca_file else ()), *_files(directories, ".crt"), *containerd.tls.ca_files]
    certs = [(path, path.removesuffix(".cert") + ".key") for path in _files(directories, ".cert")]
    loopback = is_loopback(split_host(registry)[0])
    trusted = bool(insecure)
    if insecure is None:
        trusted = "http" in containerd.schemes or not containerd.tls.verify
        trusted = trusted or (not loopback and _is_listed_insecure(registry))
    schemes: tuple[str, ...] = ("https",)
    if insecure is not False and loopback:
        schemes = ("http", "https")
    elif trusted:
        schemes = ("https", "http")
    verify = not trusted and (insecure is False or not loopback or bool(ca_files))
    return HostConfig(schemes, TLSSettings(verify, tuple(ca_files), (*certs, *containerd.tls.client_certs)))


def _is_listed_insecure(registry: str) -> bool:
    name = split_host(registry)[0]
    networks = []
    for directory in _directories("docker"):
        entries = _parse(os.path.join(directory, "daemon.json"), json.load).get("insecure-registries")
        for entry in entries if isinstance(entries, list) else ():
            if entry in (registry, name):
                return True
            if isinstance(entry, str) and "/" in entry:
                networks.append(entry)
    return bool(networks) and _in_networks(name, networks)


def _in_networks(name: str, networks: list[str]) -> bool:
    import ipaddress
    import socket

    try:
        addresses = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(name, None)}
    except OSError:
        return False
    for text in networks:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        if any(ipaddress.ip_address(address) in network for address in addresses):
            return True
    return False


def _directories(name: str) -> list[str]:
    """Return the configuration directories of ``docker`` or ``containers``: of the system, then of the user."""
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    dotted = [os.path.join(home, ".docker")] if name == "docker" else []
    return [os.path.join(_ETC, name), *dotted, os.path.join(config, name)]


def _files(directories: list[str], suffix: str) -> list[str]:
    paths = []
    for directory in directories:
        with contextlib.suppress(OSError):
            paths += [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if name.endswith(suffix)]
    return paths


def _parse(path: str, load: Callable[[BinaryIO], object]) -> dict[str, object]:
    """Return the object in a file; a malformed file counts as empty."""
    try:
        with open(path, "rb") as file:
            document = load(file)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _containerd(registry: str) -> HostConfig:
    """Return the settings of *registry* itself in containerd's hosts.toml; mirrors are ignored."""
    directory = os.path.join(_ETC, "containerd", "certs.d", registry)
    path = os.path.join(directory, "hosts.toml")
    document: dict[str, object] = {}
    if sys.version_info >= (3, 11) and os.path.exists(path):
        import tomllib

        document = _parse(path, tomllib.load)
    tables = document.get("host")
    hosts = tables if isinstance(tables, dict) else {}
    for url, table in (*hosts.items(), (document.get("server"), document)):
        scheme, _, rest = str(url or "").partition("://")
        if rest.rstrip("/") == endpoint(registry) and isinstance(table, dict):
            tls = TLSSettings(
                verify=not table.get("skip_verify", False),
                ca_files=tuple(os.path.join(directory, name) for name in _strings(table.get("ca"))),
                client_certs=tuple(
                    (os.path.join(directory, cert), os.path.join(directory, key))
                    for cert, key in _pairs(table.get("client"))
                ),
            )
            return HostConfig((scheme,), tls)
    return HostConfig()


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
