"""Job directories inside of the workspace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support import workspaces
from tests.support.notices import recorded_notices

from topcoat.scan.job_dirs import MARKER, without_job_dirs
from topcoat.scan.scanner import scan
from topcoat.specs import Workspace


def _paths(workspace: Workspace, job_dir: Path | str) -> set[str]:
    return {os.fsdecode(entry.path) for entry in without_job_dirs(scan(workspace), workspace, str(job_dir)).snapshot}


def test_a_job_directory_elsewhere_changes_nothing(tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a": "", "jobs/x": ""})
    scanned = scan(workspace)
    for job_dir in ("job", "w-other", "w/../job"):
        assert without_job_dirs(scanned, workspace, str(tmp_path / job_dir)) is scanned


def test_it_and_earlier_ones_are_left_out(tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a": "", "jobs/mine": "", "deep/er/x": ""})
    first = _paths(workspace, tmp_path / "w/jobs/1")
    workspaces.write(
        tmp_path / "w",
        {"jobs/1/a": "", f"jobs/1/{MARKER}": "{}", "jobs/1/out/log": "", "jobs/2/half": "", "deep/er/2x": ""},
    )
    second = _paths(workspace, tmp_path / "w/jobs/2")
    assert first == {"a", "jobs", "jobs/mine", "deep", "deep/er", "deep/er/x"}
    assert second == first | {"deep/er/2x"}


def test_directories_that_only_hold_job_directories_are_left_out(tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a": ""})
    before = _paths(workspace, tmp_path / "w/runs/today/1")
    workspaces.write(tmp_path / "w", {f"runs/today/1/{MARKER}": "", "runs/today/1/a": ""})
    assert before == _paths(workspace, tmp_path / "w/runs/today/1") == {"a"}
    workspaces.write(tmp_path / "w", {"runs/empty": None})
    assert _paths(workspace, tmp_path / "w/runs/today/1") == {"a", "runs", "runs/empty"}


def test_scripts_and_logs_of_earlier_jobs_are_left_out(tmp_path: Path) -> None:
    workspace = workspaces.write(
        tmp_path / "w", {"a": "", "replica.sh": "", "d/.topcoat/notes": "", "d/x.topcoat/replica.sh": ""}
    )
    before = _paths(workspace, "")
    for place in (".topcoat/1", "d/.topcoat", "jobs/1/.topcoat", "jobs/new\nline/.topcoat", "run/.topcoat/2"):
        workspaces.write(
            tmp_path / "w", {f"{place}/replica.sh": "SECRET=1", f"{place}/logs/r-0.out": "", f"{place}/job.json": ""}
        )
    assert _paths(workspace, "") == before - {"d/.topcoat", "d/.topcoat/notes"}


@pytest.mark.parametrize("name", ["job.json", "script.sh", "delivered", "logs/slurm.log"])
def test_a_pattern_that_leaves_out_the_scripts_ships_nothing_else(tmp_path: Path, name: str) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a": "", f"jobs/1/.topcoat/{name}": "", "jobs/1/.topcoat/logs/x": ""})
    assert _paths(workspace, "") == {"a"}


def test_targets_and_links_are_followed(tmp_path: Path) -> None:
    workspaces.write(tmp_path / "real", {"a": "", "jobs/1/a": ""})
    (tmp_path / "alias").symlink_to("real")
    workspace = Workspace({str(tmp_path / "alias"): "code"})
    assert _paths(workspace, tmp_path / "real/jobs/1") == {"code", "code/a"}


def test_earlier_ones_are_named(tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a": "", f"jobs/1/{MARKER}": ""})
    with recorded_notices() as notices:
        without_job_dirs(scan(workspace), workspace, str(tmp_path / "job"))
    assert notices[-1] == "jobs/1 is a job directory: left out"
