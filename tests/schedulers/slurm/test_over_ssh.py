"""Jobs of a cluster that is reached over ssh: no program of Slurm, no shared directory here."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.components.slurm import Slurm
from tests.components.ssh import LoginNode, login_node
from tests.schedulers.slurm.conftest import job_id, log_of, role, state_of
from topcoat.errors import SchedulerError
from topcoat.runner import Runner, get_runner
from topcoat.schedulers.slurm.scheduler import create_scheduler
from topcoat.specs import AppDef, AppState, CfgVal, Workspace


@pytest.fixture(scope="session")
def slurm_login(slurm: Slurm, scratch: Path, logs: Path) -> Iterator[LoginNode]:
    """A login node of the cluster."""
    with login_node(scratch / "slurm-login", logs, {"SLURM_CONF": slurm.env["SLURM_CONF"]}) as running:
        yield running


@pytest.fixture
def laptop(cluster: Slurm, slurm_login: LoginNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LoginNode:
    """A machine that has ssh, Python and no program of Slurm."""
    slurm_login.use(monkeypatch)
    monkeypatch.delenv("SLURM_CONF")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").symlink_to(slurm_login.bin / "ssh")
    for name in ("git", "sh"):
        (programs / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(programs))
    return slurm_login


@pytest.fixture
def cfg(tmp_path: Path, laptop: LoginNode) -> dict[str, CfgVal]:
    return {"slurm_host": laptop.host, "job_root": str(tmp_path / "shared" / "jobs")}


@pytest.fixture
def remote(laptop: LoginNode) -> Iterator[Runner]:
    with get_runner() as opened:
        yield opened


def test_a_job_of_two_roles_runs_the_code_of_the_submission(
    remote: Runner, cluster: Slurm, cfg: dict[str, CfgVal], workspace: Path, topcoat: Cli, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    code = Workspace({str(workspace): ""})
    words = ("python3", "show.py", str(gate))
    app = AppDef("pair", [role(name, *words, num_replicas=2, workspace=code) for name in ("train", "eval")])
    handle = remote.run(app, "slurm", cfg)
    (workspace / "code_under_test.py").write_text("TEXT = 'too late'\n")
    assert handle.endswith("@login")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(remote.log_lines(handle, "eval", 1, should_tail=True)))
    reader.start()
    cluster.wait_until(lambda: state_of(remote, handle) is AppState.RUNNING, "the job", poke=True)
    cluster.wait_until(lambda: any("first eval 1" in line for line in lines), "its log")
    shown = topcoat("status", "--json", handle).json
    assert shown["state"] == "RUNNING"
    assert handle in topcoat("list", "-s", "slurm", "-cfg", "slurm_host=login").out
    listed = topcoat("list", "--json")
    assert handle in [job["handle"] for job in listed.json["jobs"]]
    assert "no program" not in listed.err
    gate.touch()
    status = remote.wait(handle)
    assert status is not None
    assert status.state is AppState.SUCCEEDED
    reader.join(30)
    assert sum("done first TEXT = 'first'" in line for line in lines) == 1
    number = job_id(handle).partition("@")[0]
    cluster.wait_until(lambda: cluster.call("squeue", "-h", "-t", "all", "-j", number).stdout == "", "forgetting")
    assert topcoat("log", f"{handle}/train/0").out.count("done first") == 1
    assert len(topcoat("describe", "--json", handle).json["roles"]) == 2
    outputs = remote.outputs(handle)
    assert outputs is None or all("__pycache__" not in name for name in outputs.files)
    remote.delete(handle)
    assert not list((tmp_path / "shared" / "jobs").glob("*"))


def test_a_job_is_cancelled_and_its_files_are_copied(
    remote: Runner, cluster: Slurm, cfg: dict[str, CfgVal], workspace: Path, topcoat: Cli, tmp_path: Path
) -> None:
    script = "echo result > out; echo ready; sleep 100"
    app = AppDef("job", [role("job", "sh", "-c", script, workspace=Workspace({str(workspace): ""}))])
    handle = remote.run(app, "slurm", cfg)
    cluster.wait_until(lambda: "ready" in log_of(remote, handle), "the job")
    scheduler = create_scheduler("topcoat")
    scheduler.copy_from(job_id(handle), "job", 0, "out", tmp_path / "copied")
    assert (tmp_path / "copied").read_text() == "result\n"
    scheduler.copy_to(job_id(handle), "job", 0, tmp_path / "copied", "new")
    assert scheduler.execute(job_id(handle), "job", 0, ["cmp", "out", "new"]) == 0
    assert scheduler.execute(job_id(handle), "job", 0, ["sh", "-c", "[ -e show.py ] && exit 7"]) == 7
    scheduler.close()
    assert topcoat("cancel", handle).code == 0
    status = remote.wait(handle)
    assert status is not None
    assert status.state is AppState.CANCELLED


def test_old_snapshots_of_a_cluster_over_ssh_are_freed(
    remote: Runner, cluster: Slurm, cfg: dict[str, CfgVal], workspace: Path, topcoat: Cli, tmp_path: Path
) -> None:
    app = AppDef("job", [role("job", "true", workspace=Workspace({str(workspace): ""}))])
    remote.wait(remote.run(app, "slurm", cfg))
    freed = topcoat("gc", "--yes", "--json")
    # Those of other tests are freed too.
    assert [item["scheduler"] for item in freed.json["items"] if str(tmp_path) in item["id"]] == ["slurm"]
    assert "no program" not in freed.err
    assert not list((tmp_path / "shared" / "jobs").glob("*/code"))


def test_what_slurm_refuses_leaves_nothing(
    remote: Runner, cfg: dict[str, CfgVal], workspace: Path, tmp_path: Path
) -> None:
    app = AppDef("job", [role("job", "true")])
    with pytest.raises(SchedulerError, match="Invalid account"):
        remote.run(app, "slurm", {**cfg, "account": "nope"}, str(workspace))
    assert not list((tmp_path / "shared" / "jobs").glob("*"))


def test_a_laptop_without_slurm_is_told_how_to_reach_a_cluster(
    laptop: LoginNode, workspace: Path, topcoat: Cli
) -> None:
    done = topcoat("run", "-s", "slurm", "--", "true")
    assert done.code == 1
    assert "this machine has no program" in done.err
    assert "slurm_host=user@login" in done.err
