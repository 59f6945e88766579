from __future__ import annotations

from typing import Any

from topcoat.schedulers.docker.roles import published_ports, role_of
from topcoat.specs import BindMount, DeviceMount, Resource, Role, VolumeMount

INSPECTED: dict[str, Any] = {
    "Config": {
        "Image": "base",
        "Entrypoint": ["python"],
        "Cmd": ["train.py"],
        "Env": ["A=1", "B=x=y", "odd"],
        "Labels": {"dev.topcoat.ports": "8080=http,29500=c10d"},
    },
    "HostConfig": {
        "Memory": 64 << 20,
        "NanoCpus": 1_500_000_000,
        "DeviceRequests": [{"Count": 2, "Capabilities": [["gpu"]]}],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "Mounts": [
            {"Type": "bind", "Source": "/host", "Target": "/data", "ReadOnly": True},
            {"Type": "volume", "Source": "cache", "Target": "/cache"},
        ],
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/nothing", "CgroupPermissions": "rw"}],
    },
    "NetworkSettings": {
        "Ports": {
            "8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32768"}],
            "29500/tcp": None,
        }
    },
}


def test_a_role_is_read_back_from_its_container() -> None:
    assert role_of("w", INSPECTED) == Role(
        "w",
        "base",
        entrypoint="python",
        args=["train.py"],
        num_replicas=0,
        env={"A": "1", "B": "x=y"},
        port_map={"http": 8080, "c10d": 29500},
        max_retries=3,
        resource=Resource(cpu=2, gpu=2, memMB=64),
        mounts=[
            BindMount("/host", "/data", read_only=True),
            VolumeMount("cache", "/cache"),
            DeviceMount("/dev/null", "/dev/nothing", "rw"),
        ],
    )


def test_a_container_without_limits_is_a_role_without_a_resource() -> None:
    config = {"Image": "base", "Entrypoint": ["true"], "Cmd": None, "Env": None, "Labels": None}
    role = role_of("w", {"Config": config, "HostConfig": {"Memory": 0, "NanoCpus": 0}})
    assert (role.resource, role.env, role.mounts, role.port_map) == (Resource(-1, 0, -1), {}, [], {})


def test_a_published_port_is_shown_with_the_port_of_this_machine() -> None:
    assert published_ports([(("w", 0), INSPECTED), (("w", 1), {})]) == {"port 8080/tcp of w/0": "0.0.0.0:32768"}
