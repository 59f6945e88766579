"""Workspaces as images: TorchX's hooks called one by one, and planned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.components.daemons import Docker
from tests.components.images import Image, Pushed
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.bases import pushed
from tests.support.images import fetch, names, stacked
from tests.support.inside import expected, look
from tests.support.pushing import fresh
from topcoat.errors import (
    DaemonError,
    DaemonUnavailable,
    InvalidRunConfigException,
    NoSuchPlatform,
    WorkspaceChanged,
    WorkspaceNotFound,
)
from topcoat.pipeline import plan_image
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.scan.snapshot import Snapshot
from topcoat.schedulers.api import Scheduler
from topcoat.specs import AppDef, CfgVal, Role, Workspace
from topcoat.testing.registry import FakeRegistry
from topcoat.workspace import docker_workspace
from topcoat.workspace.api import MultiWorkspaceMixin, WorkspaceMixin
from topcoat.workspace.dir_workspace import DirWorkspaceMixin
from topcoat.workspace.docker_workspace import TORCHX_DOCKERFILE, DockerWorkspaceMixin
from topcoat.workspace.hooks import RunsFrom


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    content: dict[str, Any] = {f"d/f{number}": f"{number} of {tmp_path}\n" * 900 for number in range(80)}
    return workspaces.write(tmp_path / "w", {**content, "train.py": "pass\n", ".torchxignore": "*.log\n"})


@pytest.fixture
def base(registry: Registry, busybox_image: Image) -> Pushed:
    return pushed(registry, busybox_image, config={"WorkingDir": "/w"})


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def _fake_base(fake: FakeRegistry, name: str = "base") -> str:
    fake.add_image(name, "1", config={"config": {"WorkingDir": "/w", "Labels": {"name": name}}})
    return f"{fake.host}/{name}:1"


def _role(image: str, workspace: Workspace | None, name: str = "r") -> Role:
    return Role(name, image, workspace=workspace)


def _snapshot(workspace: Workspace) -> Snapshot:
    return scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot


def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")


class TestForARegistry:
    """With ``image_repo``."""

    def test_the_hooks_build_name_and_push_step_by_step(
        self, registry: Registry, base: Pushed, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _no_engine(monkeypatch)
        mixin, cfg = DockerWorkspaceMixin(), {"image_repo": fresh(registry)}
        app = AppDef("app", [_role(base.reference, workspace)])

        with registry.recording() as log:
            mixin.build_workspaces(app.roles, cfg)
            image_id = app.roles[0].image
            images = mixin.dryrun_push_images(app, cfg)
        assert {exchange.method for exchange in log} <= {"GET", "HEAD"}
        ((named, (repository, tag)),) = images.items()
        assert named == image_id
        assert image_id.startswith("sha256:")
        assert (repository, app.roles[0].image) == (cfg["image_repo"], f"{repository}:{tag}")

        mixin.push_images(images)
        fetched = fetch(registry, app.roles[0].image, skip=1)
        assert fetched.manifest["config"]["digest"] == image_id
        assert stacked(fetched.layers[1:], "/w") == expected(_snapshot(workspace))

    def test_what_was_built_is_pushed_whatever_became_of_the_workspace(
        self, fake: FakeRegistry, workspace: Workspace, tmp_path: Path
    ) -> None:
        mixin, cfg = DockerWorkspaceMixin(), {"image_repo": f"{fake.host}/app"}
        base = _fake_base(fake)
        # Once before, to another repository: its layers are known here, and not there.
        _push(mixin, base, workspace, {"image_repo": f"{fake.host}/earlier"})
        snapshot = _snapshot(workspace)
        app = AppDef("app", [_role(base, workspace)])
        mixin.build_workspaces(app.roles, cfg)
        image_id = app.roles[0].image
        for path in (tmp_path / "w/d").iterdir():
            path.unlink()
        workspaces.edit(workspace, "train.py")

        mixin.push_images(mixin.dryrun_push_images(app, cfg))

        fetched = fetch(fake, app.roles[0].image, skip=1)
        assert fetched.manifest["config"]["digest"] == image_id
        assert stacked(fetched.layers[1:], "/w") == expected(snapshot)

    def test_the_hot_layer_that_was_built_is_pushed_too(self, fake: FakeRegistry, workspace: Workspace) -> None:
        mixin, cfg, base = DockerWorkspaceMixin(), {"image_repo": f"{fake.host}/app"}, _fake_base(fake)
        _push(mixin, base, workspace, cfg)
        workspaces.edit(workspace, "d/f7", new=b"first")
        snapshot, app = _snapshot(workspace), AppDef("app", [_role(base, workspace)])
        mixin.build_workspaces(app.roles, cfg)
        image_id = app.roles[0].image
        workspaces.edit(workspace, "d/f7", new=b"other")
        mixin.push_images(mixin.dryrun_push_images(app, cfg))
        fetched = fetch(fake, app.roles[0].image, skip=1)
        assert fetched.manifest["config"]["digest"] == image_id
        assert stacked(fetched.layers[1:], "/w") == expected(snapshot)
        assert names(fetched.layers[-1]) == {"w", "w/d", "w/d/f7"}

    def test_pushing_again_sends_nothing_and_still_works(self, fake: FakeRegistry, workspace: Workspace) -> None:
        mixin, cfg = DockerWorkspaceMixin(), {"image_repo": f"{fake.host}/app"}
        app = AppDef("app", [_role(_fake_base(fake), workspace)])
        mixin.build_workspaces(app.roles, cfg)
        images = mixin.dryrun_push_images(app, cfg)
        mixin.push_images(images)
        fake.requests.clear()
        mixin.push_images(images)
        assert [request.method for request in fake.requests] == ["HEAD"]

    def test_two_builds_of_one_workspace_wait_side_by_side(self, fake: FakeRegistry, workspace: Workspace) -> None:
        mixin, cfg = DockerWorkspaceMixin(), {"image_repo": f"{fake.host}/app"}
        bases = [_fake_base(fake, name) for name in ("one", "two")]
        app = AppDef("app", [_role(image, workspace, f"r{number}") for number, image in enumerate(bases)])
        mixin.build_workspaces(app.roles, cfg)
        ids = [role.image for role in app.roles]
        mixin.push_images(mixin.dryrun_push_images(app, cfg))
        images = [fetch(fake, role.image, skip=1) for role in app.roles]
        assert [image.manifest["config"]["digest"] for image in images] == ids
        assert [image.config["config"]["Labels"]["name"] for image in images] == ["one", "two"]

    def test_roles_with_one_image_and_workspace_are_one_build(
        self, fake: FakeRegistry, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mixin, cfg, base = DockerWorkspaceMixin(), {"image_repo": f"{fake.host}/app"}, _fake_base(fake)
        planned = _count_plans(monkeypatch)
        roles = [_role(base, Workspace(dict(workspace.projects)), f"r{number}") for number in range(4)]
        app = AppDef("app", [*roles, _role("plain:1", None, "none")])
        mixin.build_workspaces(app.roles, cfg)
        assert len(planned) == 1
        assert len({role.image for role in roles}) == 1
        assert len(mixin.dryrun_push_images(app, cfg)) == 1
        assert app.roles[-1].image == "plain:1"

    def test_a_file_that_changes_before_it_is_packed_is_read_again(
        self, fake: FakeRegistry, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mixin, cfg = DockerWorkspaceMixin(), {"image_repo": f"{fake.host}/app"}
        _after_the_plan(monkeypatch, lambda: workspaces.edit(workspace, "d/f7", new=b"changed"))
        image = _push(mixin, _fake_base(fake), workspace, cfg)
        assert stacked(fetch(fake, image, skip=1).layers[1:], "/w") == expected(_snapshot(workspace))

    def test_only_the_ids_of_images_are_pushed(self) -> None:
        app = AppDef("app", [_role(name, None) for name in ("repo:tag", "repo", f"repo@sha256:{'a' * 64}", "abcdef")])
        before = [role.image for role in app.roles]
        assert DockerWorkspaceMixin().dryrun_push_images(app, {}) == {}
        assert [role.image for role in app.roles] == before

    def test_ids_of_others_are_named_after_themselves(self) -> None:
        app = AppDef("app", [_role(f"sha256:{'a' * 64}", None), _role(f"sha256:{'b' * 64}", None, "s")])
        images = DockerWorkspaceMixin().dryrun_push_images(app, {"image_repo": "127.0.0.1:5000/app"})
        assert images == {f"sha256:{letter * 64}": ("127.0.0.1:5000/app", letter * 64) for letter in "ab"}
        assert [role.image for role in app.roles] == [f"127.0.0.1:5000/app:{letter * 64}" for letter in "ab"]

    def test_without_a_repository_they_are_refused(self) -> None:
        app = AppDef("app", [_role(f"sha256:{'a' * 64}", None, "trainer")])
        with pytest.raises(InvalidRunConfigException, match="role trainer has to be pushed") as raised:
            DockerWorkspaceMixin().dryrun_push_images(app, {})
        assert "image_repo=" in (raised.value.hint or "")

    def test_a_repository_with_a_tag_is_refused_before_anything_is_asked(
        self, fake: FakeRegistry, workspace: Workspace
    ) -> None:
        with pytest.raises(InvalidRunConfigException, match="image_repo"):
            DockerWorkspaceMixin().build_workspaces(
                [_role(_fake_base(fake), workspace)], {"image_repo": f"{fake.host}/app:v1"}
            )
        assert fake.requests == []

    def test_a_cache_that_cannot_be_written_costs_time_only(
        self, fake: FakeRegistry, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file/cache"))
        role = _role(_fake_base(fake), workspace)
        DockerWorkspaceMixin().build_workspaces([role], {"image_repo": f"{fake.host}/app"})
        assert role.image.startswith("sha256:")

    def test_a_workspace_that_is_not_there(self, fake: FakeRegistry, tmp_path: Path) -> None:
        role = _role(_fake_base(fake), Workspace({str(tmp_path / "absent"): ""}))
        with pytest.raises(WorkspaceNotFound, match="absent"):
            DockerWorkspaceMixin().build_workspaces([role], {"image_repo": f"{fake.host}/app"})

    def test_projects_come_together_under_their_own_rules(self, fake: FakeRegistry, tmp_path: Path) -> None:
        workspaces.write(tmp_path / "app", {"train.py": "", "x.log": "", ".dockerignore": "*.log\n"})
        workspaces.write(tmp_path / "lib", {"lib.py": "", "x.log": "", ".torchxignore": ""})
        workspaces.write(tmp_path, {"conf.yaml": "c"})
        projects = {"app": "", "lib": "lib", "conf.yaml": "etc/conf.yaml"}
        workspace = Workspace({str(tmp_path / source): target for source, target in projects.items()})
        image = _push(DockerWorkspaceMixin(), _fake_base(fake), workspace, {"image_repo": f"{fake.host}/app"})
        files = stacked(fetch(fake, image, skip=1).layers[1:], "/w")
        assert {path for path, seen in files.items() if seen.kind == "file" and b"ignore" not in path} == {
            b"train.py",
            b"lib/lib.py",
            b"lib/x.log",
            b"etc/conf.yaml",
        }

    def test_any_file_system_can_be_the_source(self, fake: FakeRegistry) -> None:
        memory = MemoryFileSystem()
        memory.pipe_file("/code/train.py", b"pass\n")
        memory.pipe_file("/code/skip.log", b"")
        memory.pipe_file("/code/.torchxignore", b"*.log\n")
        workspace = Workspace({"memory://code": ""})
        image = _push(DockerWorkspaceMixin(), _fake_base(fake), workspace, {"image_repo": f"{fake.host}/app"})
        memory.rm("/code", recursive=True)
        assert stacked(fetch(fake, image, skip=1).layers[1:], "/w").keys() == {b"train.py", b".torchxignore"}

    def test_a_schedulers_mixin_leaves_no_connection_open(self, fake: FakeRegistry, workspace: Workspace) -> None:
        """Unclosed sockets would fail this test when the mixin is gone."""
        _push(DockerWorkspaceMixin(), _fake_base(fake), workspace, {"image_repo": f"{fake.host}/app"})
        import gc

        gc.collect()


class TestPlanning:
    """First the names, then the images."""

    def test_a_plan_writes_nothing_and_carrying_it_out_does(
        self, registry: Registry, base: Pushed, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _no_engine(monkeypatch)
        mixin, repository = DockerWorkspaceMixin(), fresh(registry)
        role = _role(base.reference, workspace)
        with registry.recording() as log:
            plan = mixin.plan_workspaces([role], {"image_repo": repository})
        assert plan is not None
        assert {exchange.method for exchange in log} <= {"GET", "HEAD"}
        assert role.image.startswith(f"{repository}:")
        (line,) = plan.lines()
        snapshot = _snapshot(workspace)
        assert line == (
            f"{role.image}: {len(snapshot)} entries, {snapshot.size} bytes of {tmp_path / 'w'} in /w, "
            f"over {base.reference}"
        )
        name = repository.partition("/")[2]
        assert registry.request("GET", f"/v2/{name}/tags/list").status == 404

        plan.carry_out()
        assert stacked(fetch(registry, role.image, skip=1).layers[1:], "/w") == expected(snapshot)

    def test_roles_share_what_they_have_in_common(
        self, fake: FakeRegistry, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planned = _count_plans(monkeypatch)
        bases = [_fake_base(fake, name) for name in ("one", "two")]
        roles = [_role(bases[number % 2], workspace, f"r{number}") for number in range(4)] + [_role("x:1", None)]
        plan = DockerWorkspaceMixin().plan_workspaces(roles, {"image_repo": f"{fake.host}/app"})
        assert plan is not None
        assert len(planned) == len(plan.lines()) == 2
        plan.carry_out()
        assert len({role.image for role in roles}) == 3
        assert fake.repositories["app"].tags.keys() == {role.image.rpartition(":")[2] for role in roles[:4]}

    @pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("changed\n")])
    def test_what_changed_since_is_not_pushed(
        self, fake: FakeRegistry, workspace: Workspace, tmp_path: Path, change: Callable[[Path], Any]
    ) -> None:
        plan = DockerWorkspaceMixin().plan_workspaces(
            [_role(_fake_base(fake), workspace)], {"image_repo": f"{fake.host}/app"}
        )
        assert plan is not None
        change(tmp_path / "w/train.py")
        with pytest.raises(WorkspaceChanged, match=r"train\.py"):
            plan.carry_out()
        assert not fake.add_repository("app").manifests
        assert fake.uploads == {}

    def test_what_is_there_already_is_what_was_planned_though_files_changed(
        self, fake: FakeRegistry, workspace: Workspace
    ) -> None:
        mixin, cfg, base = DockerWorkspaceMixin(), {"image_repo": f"{fake.host}/app"}, _fake_base(fake)
        second_result = _push(mixin, base, workspace, cfg)
        role = _role(base, workspace)
        plan = mixin.plan_workspaces([role], cfg)
        assert plan is not None
        workspaces.edit(workspace, "train.py")
        plan.carry_out()
        assert role.image == second_result


class TestForAnEngine:
    """Without ``image_repo``."""

    @pytest.fixture
    def engine(self, any_docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Docker:
        any_docker.use(monkeypatch)
        return any_docker

    @pytest.fixture
    def local(self, engine: Docker, python_image: Image) -> str:
        return python_image.load(engine, "localhost/python:1")

    def test_the_image_is_loaded_and_run_by_its_id(self, engine: Docker, local: str, workspace: Workspace) -> None:
        roles = [_role(local, workspace, "a"), _role(local, workspace, "b")]
        DockerWorkspaceMixin().build_workspaces(roles, {})
        assert roles[0].image == roles[1].image
        assert roles[0].image.startswith("sha256:")
        assert look(engine, roles[0].image, "/app").below("/app") == expected(_snapshot(workspace))

    def test_a_plan_loads_nothing_and_carrying_it_out_does(
        self, engine: Docker, local: str, workspace: Workspace
    ) -> None:
        role = _role(local, workspace)
        plan = DockerWorkspaceMixin().plan_workspaces([role], {})
        assert plan is not None
        assert not engine.has(role.image)
        plan.carry_out()
        assert look(engine, role.image, "/app").below("/app") == expected(_snapshot(workspace))

    def test_jobs_on_this_machine_need_no_repository(
        self, engine: Docker, local: str, workspace: Workspace, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Local(DockerWorkspaceMixin):
            runs_from = RunsFrom.ENGINE

        role = _role(local, workspace)
        Local().build_workspaces([role], {"image_repo": "127.0.0.1:1/nowhere"})
        assert engine.has(role.image)
        assert "image_repo=127.0.0.1:1/nowhere is ignored" in caplog.text

    def test_an_image_that_others_made_is_pushed_by_a_fresh_object(
        self, engine: Docker, busybox_image: Image, registry: Registry
    ) -> None:
        base = busybox_image.load(engine, "localhost/busybox:1")
        recipe = f"FROM {base}\nRUN echo {os.urandom(4).hex()} > /made\n"
        image = engine.run("build", "-q", "-", stdin=recipe.encode()).strip()
        app, repository = AppDef("app", [_role(image, None)]), fresh(registry)
        images = DockerWorkspaceMixin().dryrun_push_images(app, {"image_repo": repository})
        DockerWorkspaceMixin().push_images(images)
        assert app.roles[0].image == f"{repository}:{image.removeprefix('sha256:')}"
        engine.run("rmi", "--force", image)
        assert engine.run("run", "--rm", "--network", "none", app.roles[0].image, "ls", "/made") == "/made"

    def test_a_loaded_image_is_pushed_or_the_error_tells_how(
        self, engine: Docker, busybox_image: Image, workspace: Workspace, registry: Registry
    ) -> None:
        app = AppDef("app", [_role(busybox_image.load(engine, "localhost/busybox:1"), workspace)])
        DockerWorkspaceMixin().build_workspaces(app.roles, {})
        images = DockerWorkspaceMixin().dryrun_push_images(app, {"image_repo": fresh(registry)})
        if engine.containerd_store:
            with pytest.raises(DaemonError, match="cannot push") as raised:
                DockerWorkspaceMixin().push_images(images)
            assert "image_repo=" in (raised.value.hint or "")
            return
        DockerWorkspaceMixin().push_images(images)
        assert stacked(fetch(registry, app.roles[0].image, skip=1).layers[1:], "/") == expected(_snapshot(workspace))

    def test_an_id_that_the_engine_does_not_have(self, engine: Docker, registry: Registry) -> None:
        with pytest.raises(DaemonError, match=r"(?i)no such image|not found"):
            DockerWorkspaceMixin().push_images({f"sha256:{'c' * 64}": (fresh(registry), "c" * 64)})


def test_the_client_that_was_passed_is_used(
    docker20: Docker, python_image: Image, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_engine(monkeypatch)
    client = docker.DockerClient(base_url=docker20.host, version="auto")

    class MyScheduler(DockerWorkspaceMixin, Scheduler[Any]):
        def __init__(self, session_name: str, **kwargs: Any) -> None:
            super().__init__("mine", session_name, **kwargs)

    MyScheduler.__abstractmethods__ = frozenset()
    scheduler = MyScheduler("session", docker_client=client)  # type: ignore[abstract]
    role = _role(python_image.load(docker20, "localhost/python:1"), workspace)
    scheduler.build_workspaces([role], {})
    assert docker20.has(role.image)
    client.close()


def test_no_engine_is_one_error(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_engine(monkeypatch)
    role = _role("python:3", workspace)
    for call in (DockerWorkspaceMixin().build_workspaces, DockerWorkspaceMixin().plan_workspaces):
        with pytest.raises(DaemonUnavailable, match="127.0.0.1:1") as raised:  # noqa: RUF043
            call([role], {})
        assert raised.value.hint
    assert role.image == "python:3"


def test_torchxs_names_are_here() -> None:
    assert TORCHX_DOCKERFILE == "Dockerfile.torchx"
    assert isinstance(DockerWorkspaceMixin.LABEL_VERSION, str)


def _push(mixin: DockerWorkspaceMixin, base: str, workspace: Workspace, cfg: dict[str, Any]) -> str:
    """Take all three steps, and return the image's name."""
    app = AppDef("app", [_role(base, workspace)])
    mixin.build_workspaces(app.roles, cfg)
    mixin.push_images(mixin.dryrun_push_images(app, cfg))
    return app.roles[0].image


def _count_plans(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    planned: list[Any] = []
    plan = plan_image

    def counted(*args: Any, **options: Any) -> Any:
        planned.append(args)
        return plan(*args, **options)

    monkeypatch.setattr(docker_workspace, "plan_image", counted)
    return planned


def _after_the_plan(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Let *change* happen once, between scan and packing."""
    plan, left = plan_image, iter([1])

    def meddled(*args: Any, **options: Any) -> Any:
        planned = plan(*args, **options)
        if next(left, None):
            change()
        return planned

    monkeypatch.setattr(docker_workspace, "plan_image", meddled)


class TestPythonpath:
    """The order is the same on every scheduler: code, the role's own, the image's."""

    def _path(
        self, fake: FakeRegistry, workspace: Workspace, env: dict[str, str], *, plan: bool, **cfg: Any
    ) -> str | None:
        config = {"WorkingDir": "/w", "Env": ["PATH=/bin", "PYTHONPATH=/opt/lib"]}
        fake.add_image("base", "1", config={"config": config})
        role = Role("r", f"{fake.host}/base:1", workspace=workspace, env=dict(env))
        mixin, options = DockerWorkspaceMixin(), {"image_repo": f"{fake.host}/app", **cfg}
        if plan:
            mixin.plan_workspaces([role], options)
        else:
            mixin.build_workspaces([role], options)
        return role.env.get("PYTHONPATH")

    @pytest.mark.parametrize("plan", [False, True])
    def test_a_roles_own_path_goes_between_the_code_and_the_image(
        self, fake: FakeRegistry, tmp_path: Path, plan: bool
    ) -> None:
        workspace = workspaces.write(tmp_path / "s", {"src/pkg/a.py": ""})
        path = self._path(fake, workspace, {"PYTHONPATH": "/mine"}, plan=plan)
        assert path == "/w:/w/src:/mine:/opt/lib"

    def test_an_empty_path_does_not_hide_the_code(self, fake: FakeRegistry, workspace: Workspace) -> None:
        assert self._path(fake, workspace, {"PYTHONPATH": ""}, plan=True) == "/w:/opt/lib"

    def test_a_role_without_one_gets_that_of_the_image(self, fake: FakeRegistry, workspace: Workspace) -> None:
        assert self._path(fake, workspace, {}, plan=True) is None

    def test_a_role_keeps_its_own_if_the_image_leaves_it_alone(self, fake: FakeRegistry, workspace: Workspace) -> None:
        path = self._path(fake, workspace, {"PYTHONPATH": "/mine"}, plan=True, pythonpath=False)
        assert path == "/mine"


class _ByKind(MultiWorkspaceMixin):
    """A scheduler's side of it, with two kinds of workspace."""

    runs_from = RunsFrom.REGISTRY
    backend = "cluster"

    def __init__(self) -> None:
        super().__init__()
        self._kinds = {"image": DockerWorkspaceMixin(), "directory": DirWorkspaceMixin()}

    def workspace_builders(self) -> Mapping[str, WorkspaceMixin[Any]]:
        return self._kinds

    def role_platform(self, role: Role, cfg: Mapping[str, CfgVal]) -> str:
        return "linux/arm64"


def test_one_of_several_kinds_builds_for_the_platform_that_the_scheduler_states(
    fake: FakeRegistry, workspace: Workspace
) -> None:
    fake.add_image("base", "1")
    role = _role(f"{fake.host}/base:1", workspace)
    with pytest.raises(NoSuchPlatform, match="linux/arm64"):
        _ByKind().plan_workspaces([role], {"image_repo": f"{fake.host}/app"})


def test_one_of_several_kinds_knows_what_the_schedulers_jobs_run_from(fake: FakeRegistry, workspace: Workspace) -> None:
    role = _role(f"{fake.host}/base:1", workspace)
    with pytest.raises(InvalidRunConfigException, match="missing image_repo: the scheduler 'cluster' runs an image in"):
        _ByKind().plan_workspaces([role], {})
    assert fake.requests == []
