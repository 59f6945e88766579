"""A mixin gives a scheduler its hooks, wherever it comes among the bases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from topcoat.errors import UsageError
from topcoat.runner import Runner
from topcoat.schedulers.api import Scheduler
from topcoat.specs import AppDef, AppDryRunInfo, CfgVal, Resource, Role, Workspace, runopts
from topcoat.workspace.dir_workspace import DirWorkspaceMixin
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin
from topcoat.workspace.hooks import RunsFrom

RESOURCE = Resource(cpu=1, gpu=0, memMB=1)


class Plain(Scheduler[dict[str, CfgVal]]):
    """A scheduler that keeps its requests."""

    def _run_opts(self) -> runopts:
        opts = runopts()
        opts.add("queue", type_=str, default="main", help="where to wait")
        return opts

    def _submit_dryrun(self, app: AppDef, cfg: dict[str, CfgVal]) -> AppDryRunInfo[str]:
        return AppDryRunInfo(app.roles[0].image, str)

    def schedule(self, dryrun_info: AppDryRunInfo[str]) -> str:
        return dryrun_info.request

    def describe(self, app_id: str) -> None:
        return None

    def list(self, cfg: Any = None) -> list[Any]:
        return []

    def _cancel_existing(self, app_id: str) -> None:
        raise AssertionError("not reached")


class DirFirst(DirWorkspaceMixin, Plain):
    pass


class DirLast(Plain, DirWorkspaceMixin):
    pass


class DockerFirst(DockerWorkspaceMixin, Plain):
    pass


class DockerLast(Plain, DockerWorkspaceMixin):
    pass


def _app(workspace: Path) -> AppDef:
    role = Role("r", "base", entrypoint="true", resource=RESOURCE, workspace=Workspace({str(workspace): ""}))
    return AppDef("app", [role])


@pytest.mark.parametrize("kind", [DirFirst, DirLast])
def test_a_directory_mixin_before_or_after_the_scheduler_fills_the_job_directory(
    kind: type[Plain], tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.py").write_text("pass\n")
    runner = Runner("s", {"x": lambda session_name, **_: kind("x", session_name)})
    assert {"queue", "job_dir"} <= set(dict(runner.scheduler_run_opts("x")))
    job_dir = tmp_path / "job"
    assert runner.run(_app(tmp_path / "code"), "x", {"job_dir": str(job_dir)}) == f"x://s/{job_dir}"
    assert (job_dir / "a.py").read_text() == "pass\n"
    assert kind.runs_from is RunsFrom.DIRECTORY


@pytest.mark.parametrize("kind", [DockerFirst, DockerLast])
def test_an_image_mixin_before_or_after_the_scheduler_has_its_options_and_takes_the_engine(kind: Any) -> None:
    engine = object()
    scheduler = kind("x", "s", docker_client=engine)
    assert (scheduler.backend, scheduler.session_name, scheduler._docker_client) == ("x", "s", engine)
    assert {"queue", "image_repo"} <= set(dict(scheduler.run_opts()))
    assert scheduler.uses_workspace


def test_a_scheduler_without_a_mixin_refuses_a_workspace_by_its_name(tmp_path: Path) -> None:
    runner = Runner("s", {"x": lambda session_name, **_: Plain("x", session_name)})
    assert not runner.scheduler_uses_workspace("x")
    with pytest.raises(UsageError, match="the scheduler 'x' cannot use a workspace, and role 'r' has one"):
        runner.dryrun(_app(tmp_path), "x")
