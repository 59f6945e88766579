"""A laptop without Slurm: jobs of a real cluster over a real ssh connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.slurm import Slurm
from tests.components.ssh import LoginNode
from tests.schedulers.slurm.conftest import log_of, role, shell, state_of
from topcoat.errors import JobDirConflict, SchedulerError
from topcoat.runner import Runner, get_runner
from topcoat.schedulers.slurm.scheduler import SlurmScheduler, create_scheduler
from topcoat.specs import AppDef, AppState, Workspace

CFG: dict[str, Any] = {"slurm_host": "login"}


@pytest.fixture(autouse=True)
def _laptop(slurm: Slurm, slurm_login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    slurm_login.use(monkeypatch)
    yield
    slurm.run("scancel", "--user=root")
    slurm.wait_until(lambda: not slurm.run("squeue", "-h", "-o", "%i"), "the end of all jobs")


@pytest.fixture
def laptop() -> Iterator[Runner]:
    with get_runner() as opened:
        yield opened


@pytest.fixture
def scheduler() -> Iterator[SlurmScheduler]:
    opened = create_scheduler("test")
    yield opened
    opened.close()


@pytest.fixture
def jobs(slurm_login: LoginNode) -> Path:
    """The default directory of the jobs."""
    return slurm_login.directory.parent / "login-home/.topcoat/jobs"


def test_a_job_of_two_roles_runs_the_code_of_the_submission(
    laptop: Runner, slurm: Slurm, workspace: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    (workspace / "code_under_test.py").write_text("TEXT = 'edited'\n")
    code = Workspace({str(workspace): ""})
    roles = [role(name, "python3", "show.py", str(gate), num_replicas=2, workspace=code) for name in ("a", "b")]
    handle = laptop.run(AppDef("pair", roles), "slurm", CFG)
    assert handle.endswith("@login")
    (workspace / "code_under_test.py").write_text("TEXT = 'too late'\n")
    with get_runner() as other:
        slurm.wait_until(lambda: state_of(other, handle) is AppState.RUNNING, "the job", poke=True)
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(other.log_lines(handle, "b", 1, should_tail=True)))
        reader.start()
        slurm.wait_until(lambda: log_of(laptop, handle, "b", 1) != "", "its log")
        gate.touch()
        status = laptop.wait(handle)
        reader.join()
        assert status is not None
        assert (status.state, status.msg) == (AppState.SUCCEEDED, "")
        assert "".join(lines).count("done edited TEXT = 'edited'") == 1
        for name in ("a", "b"):
            for number in (0, 1):
                assert "done edited TEXT = 'edited'" in log_of(other, handle, name, number)
        assert handle in [app.app_handle for app in other.list("slurm", CFG)]


def test_a_job_is_cancelled_from_another_shell(laptop: Runner, slurm: Slurm) -> None:
    handle = laptop.run(shell("sleep 100"), "slurm", CFG)
    with get_runner() as other:
        slurm.wait_until(lambda: state_of(other, handle) is AppState.RUNNING, "the job")
        other.cancel(handle)
        status = other.wait(handle)
    assert status is not None
    assert status.state is AppState.CANCELLED


def test_the_second_job_is_sent_its_edit_alone(
    laptop: Runner, slurm: Slurm, workspace: Path, monkeypatch: pytest.MonkeyPatch, jobs: Path
) -> None:
    from topcoat.schedulers.slurm import remote_directory

    (workspace / "large.bin").write_bytes(bytes(range(256)) * 8192)
    sent: list[list[bytes]] = []
    send = remote_directory.RemoteDirectory._send

    def counted(self: Any, scan: Any, entries: Any, unchanged: Any, base: str) -> Any:
        sent.append(sorted(entry.path for entry in entries if entry.path not in unchanged and entry.kind == "file"))
        return send(self, scan, entries, unchanged, base)

    monkeypatch.setattr(remote_directory.RemoteDirectory, "_send", counted)
    app = AppDef("one", [role("r", "python3", "show.py", workspace=Workspace({str(workspace): ""}))])
    assert laptop.wait(laptop.run(app, "slurm", CFG)).state is AppState.SUCCEEDED  # type: ignore[union-attr]
    (workspace / "code_under_test.py").write_text("TEXT = 'second'\n")
    app = AppDef("two", [role("r", "python3", "show.py", workspace=Workspace({str(workspace): ""}))])
    handle = laptop.run(app, "slurm", CFG)
    assert laptop.wait(handle).state is AppState.SUCCEEDED  # type: ignore[union-attr]
    assert "done second" in log_of(laptop, handle, "r")
    assert len(sent[0]) == 4
    assert sent[1:] == [[b"code_under_test.py"]]
    assert {path.name for path in jobs.glob("two-*/*")} == {"code", ".topcoat"}


def test_the_same_job_dir_again_works_and_another_snapshot_is_refused(
    laptop: Runner, slurm: Slurm, workspace: Path, tmp_path: Path
) -> None:
    cfg = {**CFG, "job_dir": str(tmp_path / "a/b c/job")}

    def app() -> AppDef:
        return AppDef("job", [role("r", "python3", "show.py", workspace=Workspace({str(workspace): ""}))])

    for _ in range(2):
        assert laptop.wait(laptop.run(app(), "slurm", cfg)).state is AppState.SUCCEEDED  # type: ignore[union-attr]
    (workspace / "code_under_test.py").write_text("TEXT = 'changed'\n")
    with pytest.raises(JobDirConflict, match="on login already holds"):
        laptop.run(app(), "slurm", cfg)


def test_snapshots_of_ended_jobs_are_freed_and_that_of_a_running_one_is_not(
    scheduler: SlurmScheduler, laptop: Runner, slurm: Slurm, workspace: Path, jobs: Path
) -> None:
    def run(*words: str) -> str:
        app = AppDef("job", [role("r", *words, workspace=Workspace({str(workspace): ""}))])
        return laptop.run(app, "slurm", CFG)

    ended = run("sh", "-c", "echo result > result.txt")
    assert laptop.wait(ended).state is AppState.SUCCEEDED  # type: ignore[union-attr]
    before = {path.parent.name for path in jobs.glob("*/code")}
    running = run("sleep", "100")
    slurm.wait_until(lambda: state_of(laptop, running) is AppState.RUNNING, "the job")
    (live,) = {path.parent.name for path in jobs.glob("*/code")} - before
    assert scheduler.list(CFG)
    items = scheduler.freeable()
    names = {item.id.rpartition("/")[2] for item in items}
    assert names
    assert live not in names
    for item in items:
        scheduler.free(item)
    assert scheduler.freeable() == []
    assert (jobs / live / "code/show.py").exists()
    results = list(jobs.glob("*/code/result.txt"))
    assert len(results) == 1
    assert not (results[0].parent / "show.py").exists()
    assert state_of(laptop, ended) is AppState.SUCCEEDED


def test_a_refused_job_leaves_nothing(laptop: Runner, slurm: Slurm, workspace: Path, jobs: Path) -> None:
    before = sorted(jobs.iterdir()) if jobs.exists() else []
    app = AppDef("job", [role("r", "true", workspace=Workspace({str(workspace): ""}))])
    with pytest.raises(SchedulerError, match="ccount"):
        laptop.run(app, "slurm", {**CFG, "account": "nowhere"})
    assert (sorted(jobs.iterdir()) if jobs.exists() else []) == before


def test_a_command_runs_in_a_replica(laptop: Runner, slurm: Slurm, scheduler: SlurmScheduler) -> None:
    handle = laptop.run(shell("sleep 100"), "slurm", CFG)
    slurm.wait_until(lambda: state_of(laptop, handle) is AppState.RUNNING, "the job")
    assert scheduler.execute(handle.rpartition("/")[2], "job", 0, ["sh", "-c", "exit 3"]) == 3
