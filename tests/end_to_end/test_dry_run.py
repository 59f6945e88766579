"""A dry run builds, sends and copies nothing; what is scheduled is what it described, or an error."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.end_to_end.remote import RemoteScheduler, role, runner
from tests.end_to_end.servers import Server
from tests.support.images import stacked
from tests.support.workspaces import write
from topcoat.errors import InvalidRunConfigException, UsageError, WorkspaceChanged
from topcoat.runner import Runner, get_runner
from topcoat.specs import AppDef, CfgVal, Role, Workspace
from topcoat.workspace import WorkspaceMixin


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one program."""
    return write(tmp_path / "code", {".torchxignore": "*.log\n", "main.py": "print('one')\n"})


def _edit(workspace: Workspace) -> None:
    Path(next(iter(workspace.projects)), "main.py").write_text("print('another')\n")


def _tree(directory: Path) -> set[str]:
    return {os.path.join(parent, name) for parent, dirs, files in os.walk(directory) for name in [*dirs, *files]}


def _main_py(server: Server, image: str) -> bytes:
    return stacked(server.image(image).layers[1:], "/app")[b"main.py"].content


def test_a_dry_run_of_an_image_only_asks(fake_server: Server, workspace: Workspace) -> None:
    base, repo = fake_server.base("one"), fake_server.repository()
    app = AppDef("app", [role("r", base, workspace)])
    fake_server.forget()
    run, scheduler = runner()
    with run:
        info = run.dryrun(app, "remote", {"image_repo": repo})
        assert fake_server.writes() == []
        assert fake_server.requests(), "the base was read"
        assert scheduler.submitted == []
        assert app.roles[0].image == base, "the application is not changed"
        (line,) = info._workspace_plan.lines()
        image = info.request.images["r"]
        assert line.startswith(f"{image}: 2 entries, ")

        assert run.schedule(info) == "remote://session/app-1"
        assert [app.images for app in scheduler.submitted] == [{"r": image}]
        assert fake_server.manifests() == 1
        fake_server.image(image)


def test_run_with_dryrun_is_the_dry_run(fake_server: Server, workspace: Workspace) -> None:
    app = AppDef("app", [role("r", fake_server.base("one"), workspace)])
    cfg = {"image_repo": fake_server.repository()}
    fake_server.forget()
    run, scheduler = runner()
    with run:
        dry = run.run(app, "remote", cfg, dryrun=True)
        assert dry.request == run.dryrun(app, "remote", cfg).request
    assert fake_server.writes() == []
    assert scheduler.submitted == []


def test_an_edit_between_dry_run_and_schedule_is_an_error(fake_server: Server, workspace: Workspace) -> None:
    app = AppDef("app", [role("r", fake_server.base("one"), workspace)])
    fake_server.forget()
    run, scheduler = runner()
    with run:
        info = run.dryrun(app, "remote", {"image_repo": fake_server.repository()})
        _edit(workspace)
        with pytest.raises(WorkspaceChanged, match=r"main\.py"):
            run.schedule(info)
    assert scheduler.submitted == []
    assert fake_server.manifests() == 0


def test_run_ships_what_it_packed_when_a_file_changes_under_it(fake_server: Server, workspace: Workspace) -> None:
    app = AppDef("app", [role("r", fake_server.base("one"), workspace)])
    once = iter([workspace])
    run, scheduler = runner(before_submit=lambda: [_edit(exchange) for exchange in once])
    with run:
        run.run(app, "remote", {"image_repo": fake_server.repository()})
        after = run.dryrun(app, "remote", {"image_repo": fake_server.repository()}).request
    (request,) = scheduler.submitted
    assert request == after, "the second look is what was shipped"
    assert _main_py(fake_server, request.images["r"]) == hashlib.sha256(b"print('another')\n").digest()


def test_run_gives_up_on_files_that_keep_changing(fake_server: Server, workspace: Workspace) -> None:
    app = AppDef("app", [role("r", fake_server.base("one"), workspace)])
    main_py = Path(next(iter(workspace.projects)), "main.py")
    run, scheduler = runner(before_submit=lambda: main_py.write_text("#\n" + main_py.read_text()))
    with run, pytest.raises(WorkspaceChanged):
        run.run(app, "remote", {"image_repo": fake_server.repository()})
    assert scheduler.submitted == []
    assert main_py.read_text().count("#") == 3


def test_a_dry_run_of_a_job_directory_makes_none(tmp_path: Path, home: Path, workspace: Workspace) -> None:
    app = AppDef("app", [role("r", "", workspace)])
    before = _tree(tmp_path)
    with get_runner("s") as run:
        info = run.dryrun(app, "local", {"job_dir": str(tmp_path / "job")})
        assert _tree(tmp_path) == before
        assert info._workspace_plan.lines()[0].startswith(f"{tmp_path}/job: 2 entries, ")
        assert not [path for path in (home / ".local/state").rglob("*") if not path.is_dir()]

        status = run.wait(run.schedule(info))
        assert status is not None
        assert status.state.name == "SUCCEEDED"
        assert (tmp_path / "job/main.py").read_text() == "print('one')\n"


def test_an_edit_between_dry_run_and_copy_is_an_error(tmp_path: Path, workspace: Workspace) -> None:
    app = AppDef("app", [role("r", "", workspace)])
    with get_runner("s") as run:
        info = run.dryrun(app, "local", {"job_dir": str(tmp_path / "job")})
        _edit(workspace)
        with pytest.raises(WorkspaceChanged, match=r"main\.py"):
            run.schedule(info)
    assert not (tmp_path / "job").exists()


def test_a_dry_run_for_the_engine_loads_nothing(
    docker20: Docker, busybox_image: Image, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker20.use(monkeypatch)
    base = busybox_image.load(docker20, "dry-run-base:1", config={"WorkingDir": "/app"})
    app = AppDef("dry", [role("r", base, workspace, "cat main.py; exit 4")])
    before = sorted(docker20.run("images", "-aq").split())
    with get_runner("s") as run:
        info = run.dryrun(app, "local_docker")
        assert sorted(docker20.run("images", "-aq").split()) == before
        assert docker20.run("ps", "-aq", "--filter", "name=dry") == ""

        handle = run.schedule(info)
        status = run.wait(handle)
        assert status is not None
        assert status.state.name == "FAILED"
        assert list(run.log_lines(handle, "r")) == ["print('one')\n"]
        run.delete(handle)


def test_a_missing_image_repo_is_an_error_before_anything_is_built(
    docker20: Docker, busybox_image: Image, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker20.use(monkeypatch)
    base = busybox_image.load(docker20, "dry-run-base:1", config={"WorkingDir": "/app"})
    before = sorted(docker20.run("images", "-aq").split())
    run, scheduler = runner()
    with run, pytest.raises(InvalidRunConfigException, match="image of role r has to be pushed") as caught:
        run.run(AppDef("app", [role("r", base, workspace)]), "remote")
    assert caught.value.hint == "-cfg image_repo=REGISTRY/REPOSITORY"
    assert scheduler.submitted == []
    assert sorted(docker20.run("images", "-aq").split()) == before


def test_workspace_replaces_that_of_the_first_role_alone(
    fake_server: Server, workspace: Workspace, tmp_path: Path
) -> None:
    other = write(tmp_path / "other", {".torchxignore": "", "main.py": "print('other')\n"})
    base, repo = fake_server.base("one"), fake_server.repository()
    app = AppDef("app", [role("a", base, workspace), role("b", base, workspace), role("c", base)])
    run, _ = runner()
    with run:
        plain = run.dryrun(app, "remote", {"image_repo": repo}).request.images
        given = run.dryrun(app, "remote", {"image_repo": repo}, workspace=str(tmp_path / "other")).request.images
        again = run.dryrun(app, "remote", {"image_repo": repo}, workspace=other).request.images
        none = run.dryrun(app, "remote", {"image_repo": repo}, workspace="").request.images
    assert plain["a"] == plain["b"] == given["b"] != given["a"]
    assert given == again
    assert none == plain
    assert given["c"] == base
    assert app.roles[0].workspace == workspace


@pytest.mark.parametrize("own", [True, False], ids=["of the role", "of the call"])
def test_a_scheduler_without_workspaces_refuses_one(workspace: Workspace, home: Path, own: bool) -> None:
    app = AppDef("app", [role("r", "", workspace if own else None)])
    with get_runner("s") as run:
        with pytest.raises(UsageError, match="'local_cwd' cannot use a workspace, and role 'r' has one") as caught:
            run.run(app, "local_cwd", workspace=None if own else workspace)
        assert "--workspace ''" in str(caught.value.hint)
        assert run.list("local_cwd") == []


class _ThirdParty(WorkspaceMixin[None]):
    """A mixin that cannot plan."""

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        role.image = "built:1"


class _ThirdPartyScheduler(_ThirdParty, RemoteScheduler):
    plan_workspaces = WorkspaceMixin.plan_workspaces


def test_hooks_of_a_third_party_mixin_run_in_the_dry_run(workspace: Workspace) -> None:
    factories = {"third": lambda session_name, **kwargs: _ThirdPartyScheduler(session_name)}
    with Runner("s", factories) as run:
        info = run.dryrun(AppDef("app", [role("a", "x:1", workspace), role("b", "x:1")]), "third")
    assert info.request.images == {"a": "built:1", "b": "x:1"}
    assert info._workspace_plan is None
