"""Commands with umask 0: nothing that they create can be written by others, and the state is private."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.forked import run
from tests.faults.served import served_registry
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.specs import Workspace
from topcoat.workspace.dir_workspace import TmpDirWorkspaceMixin


@pytest.fixture
def umask_0() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_with_umask_0_no_path_can_be_written_by_others(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, umask_0: None
) -> None:
    workspace = tmp_path / "ws"
    workspace.mkdir(0o755)
    monkeypatch.chdir(workspace)
    (workspace / "own.py").write_text("print(1)\n")
    (workspace / "own.py").chmod(0o644)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir(0o700)
    with served_registry() as host:
        image = ("--image", f"{host}/base:1", "--image-repo", f"{host}/app")
        for words in (
            ["build", *image],
            ["build", *image],
            ["run", "--", "true"],
            ["run", "--", "sh", "-c", "exit 3"],
            ["run", "-s", "local_cwd", "-cfg", f"log_dir={tmp_path}/logs/deep", "--", "true"],
            ["run", "-cfg", f"job_dir={tmp_path}/places/deep/job", "--", "true"],
            ["run", "-cfg", f"job_dir={tmp_path}/places/deep/job2,link=hard", "--", "true"],
            ["ls"],
            ["init"],
            ["configure"],
            ["list"],
            ["completion", "--handles"],
        ):
            ended = run(words, tmp_path / "output")
            assert ended.code == (1 if "exit 3" in words else 0), (words, ended.output)
    Workspace({str(workspace): ""}).merge_into(str(tmp_path / "merged" / "deep"))
    TmpDirWorkspaceMixin()._copy_to_temporary(Workspace({str(workspace): ""}), {})
    writable, public = [], []
    paths = [path for root in (home, tmp_path) for path in root.rglob("*") if not path.is_symlink()]
    for path in paths:
        if path.stat().st_mode & 0o022:
            writable.append(path)
    # The code of a job has portable modes; what is around it is private.
    for path in [*home.rglob("*"), *(tmp_path / "logs").rglob("*")]:
        if path.stat().st_mode & 0o077 and "code" not in path.parts:
            public.append(path)
    assert len(paths) > 50
    assert writable == []
    assert public == []
    assert len(list(local_jobs.load_all())) == 5
