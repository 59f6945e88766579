"""How to reach a registry host: schemes, certificate authorities, client certificates, and whether TLS is verified.

The settings are those of Docker, Podman and containerd, so that a host that works for them works here:
``insecure-registries`` of ``daemon.json``, ``certs.d/HOST/`` with ``*.crt``, ``*.cert`` and ``*.key``, and, on Python
3.11 and later, containerd's ``certs.d/HOST/hosts.toml`` and ``insecure`` of Podman's ``registries.conf``. Mirrors are
not read.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from topcoat.foreign_text import parse_json
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
    authorities, certs = _certificates(directories)
    ca_files = [*([ca_file] if ca_file else ()), *authorities, *containerd.tls.ca_files]
    loopback = is_loopback(split_host(registry)[0])
    trusted = bool(insecure)
    if insecure is None:
        trusted = "http" in containerd.schemes or not containerd.tls.verify
        trusted = trusted or (not loopback and (_is_listed_insecure(registry) or _is_insecure_in_podman(registry)))
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
        entries = _parse(os.path.join(directory, "daemon.json"), parse_json).get("insecure-registries")
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


def _parse(path: str, parse: Callable[[bytes], object]) -> dict[str, Any]:
    """Return the object in a file; a malformed or missing file counts as empty."""
    try:
        with open(path, "rb") as file:
            document = parse(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _toml(data: bytes) -> object:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads(data.decode())
    return {}


def _is_insecure_in_podman(registry: str) -> bool:
    """Tell whether the last entry for the host in registries.conf says ``insecure``."""
    user = _directories("containers")[-1]
    main = os.environ.get("CONTAINERS_REGISTRIES_CONF") or os.path.join(user, "registries.conf")
    if not os.path.exists(main):
        main = os.path.join(_ETC, "containers", "registries.conf")
    drop_ins = [os.path.join(root, "registries.conf.d") for root in (os.path.join(_ETC, "containers"), user)]
    insecure: dict[str, bool] = {}
    for path in (main, *_files(drop_ins, ".conf")):
        # Importing the parser takes longer than reading a file that does not concern us.
        document = _parse(path, lambda data: _toml(data) if b"insecure" in data else {})
        old = document.get("registries")
        old = old.get("insecure") if isinstance(old, dict) else None
        for name in _strings(old.get("registries")) if isinstance(old, dict) else ():
            insecure[name] = True
        tables = document.get("registry")
        for table in tables if isinstance(tables, list) else ():
            if isinstance(table, dict):
                location = str(table.get("location") or table.get("prefix") or "")
                insecure[location.partition("/")[0]] = table.get("insecure") is True
    wildcards = [value for name, value in insecure.items() if name[:2] == "*." and registry.endswith(name[1:])]
    return insecure.get(registry, any(wildcards))


def _containerd(registry: str) -> HostConfig:
    """Return the settings of *registry* itself in containerd's first directory for it; mirrors are ignored."""
    host, colon, port = registry.rpartition(":")
    names = [f"{host}_{port}_", registry] if colon and port.isdecimal() else [registry]
    paths = [os.path.join(_ETC, "containerd", "certs.d", name) for name in (*names, "_default")]
    directory = next(filter(os.path.isdir, paths), "")
    if not directory:
        return HostConfig()
    path = os.path.join(directory, "hosts.toml")
    if not os.path.exists(path):
        # Docker's form.
        return HostConfig(tls=TLSSettings(True, *_certificates([directory])))
    document = _parse(path, _toml)
    tables = document.get("host")
    hosts = tables if isinstance(tables, dict) else {}
    # The keys at the top are those of the server, which is the registry itself by default.
    for url, table in (*hosts.items(), (document.get("server") or endpoint(registry), document)):
        scheme, separator, rest = str(url).rpartition("://")
        if rest.rstrip("/").removesuffix("/v2") == endpoint(registry) and isinstance(table, dict):
            tls = TLSSettings(
                verify=not table.get("skip_verify", False),
                ca_files=tuple(os.path.join(directory, name) for name in _strings(table.get("ca"))),
                client_certs=tuple(
                    (os.path.join(directory, cert), os.path.join(directory, key))
                    for cert, key in _pairs(table.get("client"))
                ),
            )
            return HostConfig((scheme if separator else "https",), tls)
    return HostConfig()


def _certificates(directories: list[str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the authorities, and the pairs of client certificate and key, in *directories*."""
    certs = _files(directories, ".cert")
    return tuple(_files(directories, ".crt")), tuple((path, path.removesuffix(".cert") + ".key") for path in certs)


def _strings(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item


def _pairs(value: object) -> Iterator[tuple[str, str]]:
    # One file with both, a list of such files, or a list of [certificate, key].
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item, item
        elif isinstance(item, list) and item and item[0]:
            # An empty key means that the certificate's file has it.
            yield str(item[0]), str(item[-1] or item[0])
