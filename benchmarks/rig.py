"""Servers and tools that the measurements need, started from the tests' components."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.components import daemons, host
from tests.components.daemons import Docker
from tests.components.registries import Registry
from tests.components.serve import answers, free_port, serve


class Rig(NamedTuple):
    """What is running: a registry, the engine of Debian, the engine of today, and a directory in memory."""

    registry: Registry
    docker20: Docker
    docker_today: Docker
    scratch: Path


@contextlib.contextmanager
def rig() -> Iterator[Rig]:
    """Start everything; end it with the block."""
    scratch = host.make_scratch()
    logs = scratch / "logs"
    logs.mkdir()
    try:
        with contextlib.ExitStack() as stack:
            registry = stack.enter_context(_registry(scratch, logs))
            docker20 = stack.enter_context(_docker20(scratch, logs))
            today = stack.enter_context(_docker_today(scratch, logs))
            yield Rig(registry, docker20, today, scratch)
    finally:
        host.remove_scratch(scratch)


@contextlib.contextmanager
def scratch_in(parent: str) -> Iterator[Path]:
    """Make a directory in *parent*, and remove it with the block."""
    directory = Path(tempfile.mkdtemp(prefix="topcoat-bench-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def file_system(directory: Path) -> str:
    """Return the type of the file system that holds *directory*, such as ``tmpfs``."""
    return subprocess.check_output(["stat", "-f", "-c", "%T", directory], text=True).strip()


@contextlib.contextmanager
def _registry(scratch: Path, logs: Path) -> Iterator[Registry]:
    # Not behind the tests' recorder: it would cost every peer time.
    program, port = host.tool("docker-registry", "docker-registry"), free_port()
    config = scratch / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(scratch / "registry")}, "delete": {"enabled": True}}
    sections = {"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": f"127.0.0.1:{port}"}}
    config.write_text(json.dumps(sections))
    ready = lambda: answers(("127.0.0.1", port))  # noqa: E731
    with serve([program, "serve", config], log=logs / "registry.log", env=host.environment(), ready=ready):
        yield Registry(f"127.0.0.1:{port}")


@contextlib.contextmanager
def _docker20(scratch: Path, logs: Path) -> Iterator[Docker]:
    program, cli = host.tool("dockerd", "docker.io"), Path("/usr/bin/docker")
    with (
        daemons.containerd(None, None, scratch / "d20c", logs) as containerd,
        daemons.dockerd(
            "docker20", program, containerd, cli=cli, buildx=None, directory=scratch / "d20", logs=logs
        ) as docker,
    ):
        yield docker


@contextlib.contextmanager
def _docker_today(scratch: Path, logs: Path) -> Iterator[Docker]:
    moby, programs, runc = host.engine("moby"), host.engine("containerd"), host.engine("runc")
    cli, buildx = host.engine("docker-cli") / "docker", host.engine("buildx") / "buildx"
    with (
        daemons.containerd(programs, runc, scratch / "dtc", logs) as containerd,
        daemons.dockerd(
            "docker_today",
            moby / "dockerd",
            containerd,
            cli=cli,
            buildx=buildx,
            directory=scratch / "dt",
            logs=logs,
            path=(moby, programs, runc),
            containerd_store=True,
        ) as docker,
    ):
        yield docker


def torchx_python() -> Path:
    """Return the interpreter of a virtual environment that holds TorchX 0.7, made on first use."""
    directory = Path.home() / ".cache" / "topcoat" / "torchx-0.7.0"
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        # TorchX 0.7 imports pkg_resources.
        packages = ["torchx==0.7.0", "docker", "setuptools<81"]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


def seconds(function: Callable[[], object]) -> float:
    """Return how long *function* takes, in seconds of wall clock."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
