"""containerd and Docker daemons, each with data, sockets and bridge of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.components.host import ComponentError, Tool, call_tool, environment, run_tool, tool
from tests.components.serve import answers, serve

_BRIDGE = "topc"
_SECOND_BYTES = range(130, 240)
_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Docker:
    """A running daemon that speaks the Docker API, and a docker CLI that fits it."""

    name: str
    host: str
    env: Mapping[str, str]
    cli: Tool
    containerd_store: bool = False

    def run(self, *args: str | Path, stdin: bytes | None = None, timeout: float = 120) -> str:
        """Run the docker CLI and return its stdout; raise ComponentError with its stderr."""
        return self.cli(*args, stdin=stdin, timeout=timeout)

    def call(
        self, *args: str | Path, stdin: bytes | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker CLI without raising on a failure."""
        return self.cli.call(*args, stdin=stdin, timeout=timeout)

    def load(self, archive: bytes) -> None:
        """Load an image archive."""
        self.run("load", stdin=archive)

    def has(self, name: str) -> bool:
        """Tell whether the daemon has an image of this name."""
        return not self.call("image", "inspect", name).returncode

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this daemon the one that DOCKER_HOST, and this CLI the one that PATH, name for the rest of a test."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)


@dataclasses.dataclass(frozen=True)
class Containerd:
    """A running containerd; ``run`` is ``ctr`` in the namespace ``default``."""

    address: Path
    ctr: Tool

    def run(self, *args: str | Path, timeout: float = 120) -> str:
        """Run ``ctr`` and return its stdout; raise ComponentError with its stderr."""
        return self.ctr("--address", self.address, *args, timeout=timeout)


@contextlib.contextmanager
def containerd(programs: Path | None, runc: Path | None, directory: Path, logs: Path) -> Iterator[Containerd]:
    """Run containerd, Debian's or the one in ``programs``, with ``runc`` from a directory or the system's."""
    path = [directory for directory in (programs, runc) if directory is not None]
    env = environment(*path)
    find = (lambda name: programs / name) if programs else (lambda name: tool(name, "containerd"))
    directory.mkdir()
    socket = directory / "containerd.sock"
    config = directory / "containerd.toml"
    config.write_text(
        f"""version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
"""
    )
    with serve(
        [find("containerd"), "--config", config],
        log=logs / f"{directory.name}-containerd.log",
        env=env,
        ready=lambda: answers(socket),
    ):
        yield Containerd(socket, Tool(find("ctr"), env))


@contextlib.contextmanager
def dockerd(
    name: str,
    program: Path,
    containerd: Containerd,
    *,
    cli: Path,
    directory: Path,
    logs: Path,
    buildx: Path | None = None,
    path: tuple[Path, ...] = (),
    containerd_store: bool | None = None,
) -> Iterator[Docker]:
    """Run a Docker daemon on ``containerd``, with a bridge of its own and without touching the host's firewall.

    Containers reach each other and published ports work (through docker-proxy); the internet they do not reach.
    ``containerd_store`` chooses the image store; ``None`` for an engine that has the classic one alone.
    """
    directory.mkdir(exist_ok=True)
    socket = directory / "docker.sock"
    config = directory / "daemon.json"
    settings: dict[str, object] = {
        "data-root": f"{directory}/data",
        "exec-root": f"{directory}/exec",
        "pidfile": f"{directory}/pid",
        "hosts": [f"unix://{socket}"],
        "containerd": str(containerd.address),
        "iptables": False,
        "ip6tables": False,
        "ip-masq": False,
        "shutdown-timeout": 1,
        "group": "root",
    }
    if containerd_store is None:
        settings["storage-driver"] = "overlay2"
    else:
        settings["features"] = {"containerd-snapshotter": containerd_store}
    env = client_environment(directory, f"unix://{socket}", cli, buildx)
    docker = Docker(name, env["DOCKER_HOST"], env, Tool(cli, environment(**env)), bool(containerd_store))
    with contextlib.ExitStack() as stack:
        device, network = stack.enter_context(bridge())
        settings |= {
            "bridge": device,
            "default-address-pools": [{"base": f"{network}.0.0/17", "size": 24}],
        }
        config.write_text(json.dumps(settings))
        stack.enter_context(
            serve(
                [program, "--config-file", config],
                log=logs / f"{name}.log",
                env=environment(*path),
                ready=lambda: answers(socket) and not docker.call("version").returncode,
            )
        )
        try:
            yield docker
        finally:
            _clear(docker)


def client_environment(directory: Path, host: str, cli: Path, buildx: Path | None = None) -> dict[str, str]:
    """Return the environment in which ``docker`` is this CLI, talks to ``host``, and knows no login."""
    config, programs = directory / "client", directory / "client-bin"
    plugins = config / "cli-plugins"
    for made in (plugins, programs):
        made.mkdir(parents=True)
    (config / "config.json").write_text("{}")
    (programs / "docker").symlink_to(cli)
    if buildx is not None:
        (plugins / "docker-buildx").symlink_to(buildx)
    return {"DOCKER_HOST": host, "DOCKER_CONFIG": str(config), "PATH": environment(programs)["PATH"]}


def _clear(docker: Docker) -> None:
    """Remove what would outlive the daemon (bridges) or delay its end (it asks each container politely first)."""
    with contextlib.suppress(ComponentError, subprocess.TimeoutExpired):
        containers = docker.run("ps", "-aq").split()
        if containers:
            docker.run("rm", "-f", *containers)
        docker.run("network", "prune", "-f")


@contextlib.contextmanager
def bridge() -> Iterator[tuple[str, str]]:
    """Make a bridge device in a free network; give its name and the first two bytes of the network, ``10.130``.

    The bridge has the address 128.1 there. Where the host drops what it forwards, packets within the network may pass.
    """
    ip, iptables = tool("ip", "iproute2"), tool("iptables", "iptables")
    _remove_old_bridges(ip)
    name = device_name()
    network = free_network()
    accept = ["FORWARD", "-s", f"{network}.0.0/16", "-d", f"{network}.0.0/16", "-j", "ACCEPT"]
    run_tool([ip, "link", "add", name, "type", "bridge"])
    opened = False
    try:
        run_tool([ip, "address", "add", f"{network}.128.1/24", "dev", name])
        run_tool([ip, "link", "set", name, "up"])
        opened = "-P FORWARD DROP" in call_tool([iptables, "-S", "FORWARD"]).stdout
        if opened:
            run_tool([iptables, "-I", *accept])
        yield name, network
    finally:
        if opened:
            call_tool([iptables, "-D", *accept])
        call_tool([ip, "link", "delete", name])


def device_name() -> str:
    """Return a new name for a bridge device."""
    return f"{_BRIDGE}{os.getpid()}-{next(_numbers)}"


def free_network() -> str:
    """Pick a 10.N.0.0/16 that nothing on this machine uses; test runs side by side begin at different ones."""
    ip = tool("ip", "iproute2")
    taken = run_tool([ip, "-4", "route"]) + run_tool([ip, "-4", "address"])
    start = os.getpid() % len(_SECOND_BYTES)
    for second in [*_SECOND_BYTES[start:], *_SECOND_BYTES[:start]]:
        if f" 10.{second}." not in f" {taken}".replace("\n", " "):
            return f"10.{second}"
    raise ComponentError("every network from 10.130.0.0 to 10.239.0.0 is in use on this machine")


def _remove_old_bridges(ip: Path) -> None:
    """Delete the bridges of test runs that were killed."""
    links = run_tool([ip, "-o", "link", "show", "type", "bridge"])
    for name, pid in re.findall(rf"\b({_BRIDGE}(\d+)-\d+)\b", links):
        if not os.path.exists(f"/proc/{pid}"):
            call_tool([ip, "link", "delete", name])
