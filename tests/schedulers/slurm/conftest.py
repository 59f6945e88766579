"""What the tests of Slurm share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import topcoat as topcoat  # noqa: PLC0414
from tests.components import host
from tests.components.slurm import Slurm
from tests.components.ssh import LoginNode
from topcoat.runner import Runner, get_runner
from topcoat.schedulers.slurm.ssh import SshSite
from topcoat.specs import AppDef, AppState, Resource, Role

SHOW = """
import os, sys, time
from pathlib import Path
import code_under_test
who = map(os.environ.get, ("TOPCOAT_ROLE", "TOPCOAT_REPLICA_ID", "SLURMD_NODENAME"))
print(code_under_test.TEXT, *who, flush=True)
print("error output", file=sys.stderr, flush=True)
gate = Path(sys.argv[1]) if len(sys.argv) > 1 else None
while gate and not gate.exists():
    time.sleep(0.05)
print("done", code_under_test.TEXT, Path("code_under_test.py").read_text().strip())
"""
"""A program that prints who it is and which code it has, and ends when the file that its argument names exists."""


@pytest.fixture
def cluster(slurm: Slurm, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Slurm]:
    """The cluster, without jobs; its commands are those of this process."""
    slurm.use(monkeypatch)
    yield slurm
    slurm.run("scancel", "--user=root")
    slurm.wait_until(lambda: not slurm.run("squeue", "-h", "-o", "%i"), "the end of all jobs")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with the program `SHOW`, which is the current directory."""
    directory = tmp_path / "ws"
    directory.mkdir()
    (directory / "show.py").write_text(SHOW)
    (directory / "code_under_test.py").write_text("TEXT = 'first'\n")
    (directory / ".torchxignore").write_text("*.log\n")
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def runner(cluster: Slurm) -> Iterator[Runner]:
    with get_runner() as opened:
        yield opened


def role(name: str, *words: str, **fields: Any) -> Role:
    """Return a role with small resources that runs *words*."""
    return Role(
        **{
            "name": name,
            "image": "",
            "entrypoint": words[0],
            "args": list(words[1:]),
            "resource": Resource(cpu=1, gpu=0, memMB=100),
            **fields,
        }
    )


def shell(script: str, **fields: Any) -> AppDef:
    """Return an application of one role that runs a shell script."""
    return AppDef("job", [role("job", "sh", "-c", script, **fields)])


def state_of(runner: Runner, handle: str) -> AppState | None:
    status = runner.status(handle)
    return status.state if status else None


def job_id(handle: str) -> str:
    return handle.rpartition("/")[2]


def log_of(runner: Runner, handle: str, role_name: str = "job", replica: int = 0, **options: Any) -> str:
    return "".join(runner.log_lines(handle, role_name, replica, **options))


def is_running(runner: Runner, handle: str) -> Callable[[], bool]:
    return lambda: state_of(runner, handle) is AppState.RUNNING


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the OCI runtime specification: busybox, the variable BASE, the working directory /workspace."""
    directory = tmp_path_factory.mktemp("bundle")
    root = directory / "rootfs"
    for name in ("bin", "etc", "tmp", "proc", "dev", "sys", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(host.tool("busybox", "busybox-static"), root / "bin" / "busybox")
    for name in ("sh", "cat", "date", "mkdir", "mv", "touch", "uname"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "sbin").symlink_to("bin")
    host.run_tool([host.tool("runc", "runc"), "spec"], cwd=directory)
    config = json.loads((directory / "config.json").read_text())
    config["process"] |= {"cwd": "/workspace", "env": ["PATH=/bin", "BASE=1"], "terminal": False}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture
def site(login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshSite]:
    """A login node over a real ssh connection."""
    login.use(monkeypatch)
    site = SshSite("login")
    yield site
    site.close()
