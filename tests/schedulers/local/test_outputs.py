from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support import workspaces
from topcoat.runner import Runner
from topcoat.schedulers.local.outputs import all_files, written_files
from topcoat.schedulers.local.scheduler import create_scheduler
from topcoat.specs import AppDef, Role


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    """A job directory of two files, and ``job.json`` written a clock tick later."""
    workspaces.write(tmp_path / "code", {"train.py": "a", "pkg/b.py": "b"})
    time.sleep(0.02)
    (tmp_path / "job.json").touch()
    time.sleep(0.02)
    return tmp_path / "code"


def _written(job_dir: Path, linked: list[str] | None = None) -> list[str]:
    return written_files(str(job_dir), str(job_dir.parent / "job.json"), linked or [])


def test_the_snapshot_is_not_the_jobs(job_dir: Path) -> None:
    assert _written(job_dir) == []
    assert all_files(str(job_dir)) == ["pkg/b.py", "train.py"]


def test_new_changed_renamed_and_linked_files_are(job_dir: Path) -> None:
    (job_dir / "train.py").write_text("c")
    (job_dir / "pkg/b.py").rename(job_dir / "renamed.py")
    (job_dir / "link").symlink_to("nowhere")
    (job_dir / "empty").mkdir()
    assert _written(job_dir) == ["link", "renamed.py", "train.py"]


def test_a_file_with_an_old_date_is_too(job_dir: Path) -> None:
    workspaces.write(job_dir, {"extracted.pt": "x"})
    os.utime(job_dir / "extracted.pt", (0, 0))
    assert _written(job_dir) == ["extracted.pt"]


def test_caches_of_python_are_not(job_dir: Path) -> None:
    workspaces.write(job_dir, {"pkg/__pycache__/b.cpython-311.pyc": "", "old.pyc": "", ".pytest_cache/v/x": ""})
    assert _written(job_dir) == []


def test_a_link_to_a_file_does_not_change_it(job_dir: Path) -> None:
    os.link(job_dir / "train.py", job_dir.parent / "other")
    assert _written(job_dir, ["pkg/b.py", "train.py"]) == []
    (job_dir / "train.py").write_text("c")
    assert _written(job_dir, ["pkg/b.py", "train.py"]) == ["train.py"]


def test_jobs_that_share_files_by_hard_links_have_written_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = workspaces.write(tmp_path / "w", {"train.py": "a", ".torchxignore": ""})
    runner = Runner("s", {"local": create_scheduler})
    role = Role("w", "", entrypoint="true", workspace=workspace)
    first, second = (runner.run(AppDef("x", [role]), "local", {"link": "hard"}) for _ in range(2))
    for handle in (first, second):
        runner.wait(handle)
        assert runner.outputs(handle) is None
        runner.delete(handle)
