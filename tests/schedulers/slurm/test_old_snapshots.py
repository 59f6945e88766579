"""Snapshots that no job uses."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support import workspaces
from topcoat.destinations.file_maker import LinkPolicy
from topcoat.errors import SchedulerError
from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.files import JobFiles
from topcoat.schedulers.slurm.old_snapshots import find_old_snapshots, remove_old_snapshot
from topcoat.schedulers.slurm.site import LocalSite
from topcoat.schedulers.slurm.snapshot import SnapshotWorkspace
from topcoat.specs import Role, Workspace

SITE = LocalSite()


def _job(root: Path, name: str, workspace: Workspace, link: LinkPolicy = "copy") -> str:
    """Make the directory of a job, as a submission does; return its facts directory."""
    planner = SnapshotWorkspace(lambda host: SITE)
    code = f"{root}/{name}/code"
    planner.build_workspaces([Role("r", "", workspace=workspace)], {"job_dir": code, "link": link})
    time.sleep(0.02)
    workspaces.write(root / name, {".topcoat/job.json": f'{{"link": "{link}"}}', ".topcoat/logs/r-0.out": "log"})
    if link == "hard":
        (root / name / ".topcoat/delivered").write_bytes(planner.delivered_to([code]))
    time.sleep(0.02)
    return f"{root}/{name}/.topcoat"


def _paths(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.write(tmp_path / "w", {"a.py": "a" * 5000, "d/b.py": "b" * 5000, "e": None})


def test_only_snapshots_of_ended_jobs_are_free(tmp_path: Path, workspace: Workspace) -> None:
    ended, _ = (_job(tmp_path / "jobs", name, workspace) for name in ("ended", "running or of another cluster"))
    (item,) = find_old_snapshots(SITE, str(tmp_path / "jobs"), "", {ended})
    assert item.name == "snapshot of ended"
    assert item.id == f":{tmp_path}/jobs/ended"
    assert (item.size or 0) >= 10_000


def test_removing_keeps_logs_and_what_the_job_wrote(tmp_path: Path, workspace: Workspace) -> None:
    facts = _job(tmp_path, "1", workspace)
    workspaces.write(tmp_path / "1/code", {"d/checkpoint": "c", "a.py": "changed by the job"})
    (tmp_path / "1/code/d/old-time").write_text("a job kept the time of a file that it copied")
    os.utime(tmp_path / "1/code/d/old-time", (1, 1))
    remove_old_snapshot(SITE, str(tmp_path / "1"))
    assert _paths(tmp_path / "1") == {
        "code", "code/a.py", "code/d", "code/d/checkpoint", "code/d/old-time",
        ".topcoat", ".topcoat/job.json", ".topcoat/logs", ".topcoat/logs/r-0.out",
    }  # fmt: skip
    assert find_old_snapshots(SITE, str(tmp_path), "", {facts}) == []
    remove_old_snapshot(SITE, str(tmp_path / "1"))


def test_directories_that_a_job_made_read_only_are_no_obstacle(tmp_path: Path, workspace: Workspace) -> None:
    _job(tmp_path, "1", workspace)
    (tmp_path / "1/code/d").chmod(0o555)
    remove_old_snapshot(SITE, str(tmp_path / "1"))
    assert not (tmp_path / "1/code").exists()
    _job(tmp_path, "2", workspace)
    for directory in ("2/code/d", "2/code", "2"):
        (tmp_path / directory).chmod(0o555)
    SITE.remove_tree(str(tmp_path / "2"))
    assert not (tmp_path / "2").exists()


def test_one_directory_alone_is_looked_at(tmp_path: Path, workspace: Workspace) -> None:
    facts = [_job(tmp_path, name, workspace) for name in ("1", "2")]
    (item,) = find_old_snapshots(SITE, str(tmp_path), "2", facts)
    assert item.id == f":{tmp_path}/2"
    assert find_old_snapshots(SITE, str(tmp_path), "3", facts) == []


def test_a_snapshot_without_outputs_is_removed_whole(tmp_path: Path, workspace: Workspace) -> None:
    facts = _job(tmp_path, "1", workspace)
    remove_old_snapshot(SITE, str(tmp_path / "1"))
    assert not (tmp_path / "1/code").exists()
    assert find_old_snapshots(SITE, str(tmp_path), "", {facts}) == []


def test_removing_a_snapshot_of_hard_links_leaves_the_others(tmp_path: Path, workspace: Workspace) -> None:
    facts = [_job(tmp_path / "jobs", name, workspace, "hard") for name in ("1", "2")]
    sizes = [item.size for item in find_old_snapshots(SITE, str(tmp_path / "jobs"), "", facts)]
    # Both have the files: only their markers would be given back.
    assert all((size or 0) < 8192 for size in sizes)
    workspaces.write(tmp_path / "jobs/1/code", {"out": "written", "d/old-time": "of an archive"})
    os.utime(tmp_path / "jobs/1/code/d/old-time", (1, 1))
    files, code = JobFiles(facts[0]), str(tmp_path / "jobs/1/code")
    written = SlurmClient(SITE).written_files([code], files, are_linked=True)
    assert written == [f"{code}/d/old-time", f"{code}/out"]
    remove_old_snapshot(SITE, str(tmp_path / "jobs/1"))
    assert _paths(tmp_path / "jobs/1/code") == {"out", "d", "d/old-time"}
    assert (tmp_path / "jobs/2/code/a.py").read_text() == "a" * 5000
    # The files of the second have a new change time now, and are still no outputs.
    assert SlurmClient(SITE).written_files([str(tmp_path / "jobs/2/code")], JobFiles(facts[1]), are_linked=True) == []
    remove_old_snapshot(SITE, str(tmp_path / "jobs/2"))
    assert not (tmp_path / "jobs/2/code").exists()


def test_without_a_list_of_what_was_delivered_files_with_new_times_are_outputs(
    tmp_path: Path, workspace: Workspace
) -> None:
    facts = _job(tmp_path, "1", workspace, "hard")
    os.remove(f"{facts}/delivered")
    os.link(tmp_path / "1/code/a.py", tmp_path / "another")
    workspaces.write(tmp_path / "1/code", {"out": "written"})
    code = str(tmp_path / "1/code")
    assert SlurmClient(SITE).written_files([code], JobFiles(facts), are_linked=True) == [f"{code}/out"]


def _make_old(directory: Path) -> None:
    yesterday = time.time() - 25 * 3600
    for path in (*directory.rglob("*"), directory):
        os.utime(path, (yesterday, yesterday))


@pytest.mark.parametrize(
    "files",
    [{".code.x1/a.py": "a"}, {"code/.topcoat.json": "{}"}, {".topcoat/script.sh": ""}, {}],
    ids=["incomplete code", "code", "script", "nothing"],
)
def test_what_a_killed_submission_left_is_free_after_a_day(tmp_path: Path, files: dict[str, str]) -> None:
    old, new = (app_id_for("train") for _ in "ab")
    for name in (old, new):
        (tmp_path / name).mkdir()
        workspaces.write(tmp_path / name, files)
    _make_old(tmp_path / old)
    (item,) = find_old_snapshots(SITE, str(tmp_path), "", set())
    assert item.name == f"leftover of the submission of {old}"
    remove_old_snapshot(SITE, item.id.partition(":")[2])
    assert os.listdir(tmp_path) == [new]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("datasets", {"imagenet/train/x": "data"}),
        ("project", {"code/.topcoat.json": "{}", "code/a.py": ""}),
        ("empty", {}),
        ("data-training", {"code/a.py": ""}),
        ("run-bcdfghjk", {"code/a.py": "", "result": "beside the code"}),
        ("run-bcdfghjk", {".topcoat/job.json": "{}", "result": "of a job that Slurm has forgotten"}),
    ],
)
def test_other_directories_of_the_user_are_never_removed(tmp_path: Path, name: str, files: dict[str, str]) -> None:
    (tmp_path / name).mkdir()
    workspaces.write(tmp_path / name, files)
    before = _paths(tmp_path)
    _make_old(tmp_path / name)
    assert find_old_snapshots(SITE, str(tmp_path), "", set()) == []
    remove_old_snapshot(SITE, str(tmp_path / name))
    assert _paths(tmp_path) == before


def test_hostile_names_and_foreign_files_are_only_names(tmp_path: Path, workspace: Workspace) -> None:
    facts = [_job(tmp_path / "jobs", name, workspace) for name in ("a b", "-n", "new\nline", "tab\tx", "$(id)")]
    (tmp_path / "jobs/file").touch()
    (tmp_path / "jobs/link").symlink_to("a b")
    items = find_old_snapshots(SITE, str(tmp_path / "jobs"), "", facts)
    assert {item.id for item in items} == {f":{Path(path).parent}" for path in facts}
    for item in items:
        remove_old_snapshot(SITE, item.id.partition(":")[2])
    assert find_old_snapshots(SITE, str(tmp_path / "jobs"), "", facts) == []


def test_a_missing_root_has_no_snapshots(tmp_path: Path) -> None:
    assert find_old_snapshots(SITE, str(tmp_path / "missing"), "", set()) == []
    remove_old_snapshot(SITE, str(tmp_path / "missing"))


def test_a_failure_is_an_error(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = _job(tmp_path, "1", workspace)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/find").write_text("#!/bin/sh\necho 'find: no' >&2; exit 1\n")
    (tmp_path / "bin/find").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(SchedulerError, match="cannot remove the snapshot"):
        remove_old_snapshot(SITE, os.path.dirname(facts))
