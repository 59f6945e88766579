"""Read the definition of a job back from its containers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from topcoat.schedulers.docker.request import KEEPS_ENTRYPOINT, PORTS
from topcoat.specs import BindMount, DeviceMount, Resource, Role, VolumeMount


def published_ports(containers: Iterable[tuple[tuple[str, int], Mapping[str, Any]]]) -> dict[str, str]:
    """Return where this machine reaches the ports of *containers*, for the metadata of their application.

    *containers* are pairs of role and replica with the output of ``docker inspect``.
    """
    return {
        f"port {port} of {role}/{replica_id}": f"{binding['HostIp'] or '0.0.0.0'}:{binding['HostPort']}"
        for (role, replica_id), attrs in containers
        for port, bindings in ((attrs.get("NetworkSettings") or {}).get("Ports") or {}).items()
        for binding in bindings or []
        if ":" not in binding["HostIp"]
    }


def role_of(name: str, attrs: Mapping[str, Any]) -> Role:
    """Return the role of a container; *attrs* is the output of ``docker inspect``."""
    config, host = attrs["Config"], attrs["HostConfig"]
    # An entrypoint that was kept is the image's.
    own = [] if (config.get("Labels") or {}).get(KEEPS_ENTRYPOINT) == "true" else config.get("Entrypoint")
    command = [*(own or []), *(config.get("Cmd") or [])]
    requests = host.get("DeviceRequests") or []
    ports = [pair.partition("=") for pair in (config.get("Labels") or {}).get(PORTS, "").split(",") if pair]
    return Role(
        name,
        config["Image"],
        entrypoint=command[0],
        args=command[1:],
        num_replicas=0,
        env=dict(pair.split("=", 1) for pair in config.get("Env") or [] if "=" in pair),
        port_map={port_name: int(port) for port, _, port_name in ports},
        max_retries=int((host.get("RestartPolicy") or {}).get("MaximumRetryCount") or 0),
        resource=Resource(
            cpu=-(-(host.get("NanoCpus") or 0) // 10**9) or -1,
            gpu=sum(int(request.get("Count") or 0) for request in requests),
            memMB=(host.get("Memory") or 0) // (1 << 20) or -1,
        ),
        mounts=[*map(_mount, host.get("Mounts") or []), *map(_device, host.get("Devices") or [])],
    )


def _mount(mount: Mapping[str, Any]) -> BindMount | VolumeMount:
    kind = BindMount if mount["Type"] == "bind" else VolumeMount
    return kind(mount.get("Source", ""), mount["Target"], bool(mount.get("ReadOnly")))


def _device(device: Mapping[str, Any]) -> DeviceMount:
    return DeviceMount(device["PathOnHost"], device["PathInContainer"], device.get("CgroupPermissions", "rwm"))
