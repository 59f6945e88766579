"""Snapshots on a real cluster that is reached over a real ssh connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.slurm import Slurm
from tests.components.ssh import LoginNode
from tests.schedulers.slurm.conftest import log_of, role, state_of
from topcoat.errors import JobDirConflict
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


def test_the_second_job_is_sent_its_edit_alone(
    laptop: Runner, slurm: Slurm, workspace: Path, monkeypatch: pytest.MonkeyPatch, jobs: Path
) -> None:
    from topcoat.schedulers.slurm import remote_directory

    (workspace / "large.bin").write_bytes(bytes(range(256)) * 8192)
    sent: list[list[bytes]] = []
    send = remote_directory.RemoteDirectory._send

    def counted(self: Any, scan: Any, shipment: Any, archive: Any, base: str) -> Any:
        sent.append([entry.path for entry in archive.entries])
        return send(self, scan, shipment, archive, base)

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
