"""Podman, buildah, skopeo and crane, with storage and configuration of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.components.daemons import Docker, client_environment, device_name, free_network
from tests.components.host import Tool, environment, tool
from tests.components.serve import answers, serve


@dataclasses.dataclass(frozen=True)
class Podman(Docker):
    """Podman and its Docker-compatible service: ``run`` is the podman CLI, ``docker`` the docker CLI on its socket."""

    docker: Tool = dataclasses.field(kw_only=True)

    def run(self, *args: str | Path, stdin: bytes | None = None, timeout: float = 120) -> str:
        """Run the podman CLI and return its stdout; raise ComponentError with its stderr."""
        return self.cli(*args, stdin=stdin, timeout=timeout)

    def call(
        self, *args: str | Path, stdin: bytes | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run the podman CLI without raising on a failure."""
        return self.cli.call(*args, stdin=stdin, timeout=timeout)


def containers_environment(directory: Path, registries: Iterable[str]) -> dict[str, str]:
    """Write the configuration for podman, buildah and skopeo; return the environment that names it.

    Storage below ``directory``, runc, no systemd, and the ``registries`` (``host:port``) reached without TLS.
    """
    directory.mkdir(exist_ok=True)
    home = directory / "home"
    home.mkdir(exist_ok=True)
    network = free_network()
    (directory / "networks").mkdir()
    (directory / "networks" / "podman.json").write_text(json.dumps(_default_network(network)))
    files = {
        # The limits: podman's own default is above what an unprivileged hard limit allows.
        "CONTAINERS_CONF": f"""[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{directory}/tmp"
volume_path = "{directory}/volumes"
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
default_subnet_pools = [{{"base" = "{network}.128.0/17", "size" = 24}}]
""",
        "CONTAINERS_REGISTRIES_CONF": "".join(
            f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in registries
        ),
        "CONTAINERS_STORAGE_CONF": f"""[storage]
driver = "overlay"
graphroot = "{directory}/storage"
runroot = "{directory}/run"
""",
    }
    named = {}
    for name, text in files.items():
        file = directory / f"{name.lower()}.conf"
        file.write_text(text)
        named[name] = str(file)
    return environment(**named, HOME=str(home), XDG_RUNTIME_DIR=str(directory))


def _default_network(network: str) -> dict[str, Any]:
    """Describe podman's default network with a bridge and addresses that no other podman here uses."""
    return {
        "name": "podman",
        "id": "0" * 64,
        "driver": "bridge",
        "network_interface": device_name(),
        "created": "2023-11-14T22:13:20Z",
        "subnets": [{"subnet": f"{network}.0.0/24", "gateway": f"{network}.0.1"}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
    }


@contextlib.contextmanager
def podman(directory: Path, logs: Path, env: dict[str, str], docker_cli: Path) -> Iterator[Podman]:
    """Run podman's API service."""
    program = tool("podman", "podman")
    socket = directory / "podman.sock"
    host = f"unix://{socket}"
    docker_env = client_environment(directory, host, docker_cli)
    with serve(
        [program, "system", "service", "--time=0", host],
        log=logs / "podman.log",
        env=env,
        ready=lambda: answers(socket),
    ):
        cli = Tool(program, env)
        running = Podman("podman", host, docker_env, cli, docker=Tool(docker_cli, environment(**docker_env)))
        try:
            yield running
        finally:
            running.call("rm", "--all", "--force", "--time=0")
            running.call("network", "prune", "--force")
