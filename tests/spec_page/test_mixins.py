"""What the page says that the mixins do, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import fsspec
import pytest
from docker import DockerClient

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support.fake_bases import add_base
from tests.support.images import fetch, names
from tests.support.workspaces import write
from topcoat.errors import InvalidRunConfigException, UsageError
from topcoat.schedulers.docker.scheduler import DockerScheduler
from topcoat.specs import AppDef, CfgVal, Resource, Role, Workspace, runopts
from topcoat.testing.registry import FakeRegistry
from topcoat.workspace import WorkspaceMixin, walk_workspace
from topcoat.workspace.dir_workspace import DirWorkspaceMixin
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin


class Recording(WorkspaceMixin[None]):
    """Note the roles and the cache of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, dict[object, object]]] = []

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        build_cache[role.name] = len(self.calls)
        self.calls.append((role.name, build_cache))


class Deprecated(WorkspaceMixin[None]):
    """Note what the deprecated hook is given, and the files there."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[str, list[str]]] = []

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        files = sorted(str(path.relative_to(workspace)) for path in Path(workspace).rglob("*") if path.is_file())
        self.given.append((workspace, files))


def _roles(*workspaces: Workspace | None) -> list[Role]:
    return [Role(f"r{number}", "base", workspace=workspace) for number, workspace in enumerate(workspaces)]


@pytest.fixture
def code(tmp_path: Path) -> Workspace:
    """A workspace."""
    return write(tmp_path / "code", {".torchxignore": "*.log\n", "main.py": "print(1)\n", "run.log": "no"})


def test_a_bare_mixin_has_no_options_and_pushes_nothing() -> None:
    mixin = WorkspaceMixin[None]()
    assert isinstance(mixin.workspace_opts(), runopts)
    assert len(mixin.workspace_opts()) == 0
    with pytest.raises(NotImplementedError):
        mixin.push_images(None)
    with pytest.raises(NotImplementedError):
        mixin.dryrun_push_images(AppDef("a"), {})


def test_build_workspaces_calls_the_hook_for_each_role_with_a_workspace(code: Workspace) -> None:
    mixin = Recording()
    mixin.build_workspaces(_roles(code, None, Workspace({}), code), {})
    assert [name for name, _ in mixin.calls] == ["r0", "r3"]


def test_the_build_cache_is_shared_within_a_call_and_new_in_the_next(code: Workspace) -> None:
    mixin = Recording()
    mixin.build_workspaces(_roles(code, code), {})
    mixin.build_workspaces(_roles(code), {})
    first, second, third = (cache for _, cache in mixin.calls)
    assert first is second
    assert third is not first
    assert third == {"r0": 2}


def test_the_hook_of_each_built_in_mixin_is_guarded_for_direct_calls() -> None:
    for mixin in (WorkspaceMixin[None](), DockerWorkspaceMixin(), DirWorkspaceMixin()):
        (role,) = _roles(None)
        mixin.caching_build_workspace_and_update_role(role, {"job_dir": "/nowhere", "image_repo": "x/y"}, {})
        assert role == Role("r0", "base")


def test_the_default_hook_passes_one_directory_to_the_deprecated_hook_unchanged(code: Workspace) -> None:
    mixin = Deprecated()
    mixin.build_workspaces(_roles(code), {})
    assert mixin.given == [(str(code), [".torchxignore", "main.py", "run.log"])]


def test_the_default_hook_merges_several_projects_into_a_temporary_directory(code: Workspace, tmp_path: Path) -> None:
    write(tmp_path / "lib", {".torchxignore": "", "util.py": ""})
    mixin = Deprecated()
    mixin.build_workspaces(_roles(Workspace({**code.projects, str(tmp_path / "lib"): "lib"})), {})
    ((merged, files),) = mixin.given
    assert files == [".torchxignore", "lib/.torchxignore", "lib/util.py", "main.py"]
    assert not Path(merged).exists()


def test_a_mixin_is_the_first_base_and_passes_arguments_on() -> None:
    class Base:
        def __init__(self, backend: str, *, size: int) -> None:
            self.got = (backend, size)

    class Mixed(WorkspaceMixin[None], Base):
        pass

    assert Mixed("queue", size=3).got == ("queue", 3)


@pytest.fixture
def client(docker20: Docker) -> Iterator[DockerClient]:
    """A client that only the mixin gets: the environment names no engine."""
    with_engine = docker.DockerClient(base_url=docker20.host)
    yield with_engine
    with_engine.close()


def test_the_passed_docker_client_is_used(
    docker20: Docker, client: DockerClient, busybox_image: Image, code: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    base = busybox_image.load(docker20, "mixins-base:1", config={"WorkingDir": "/app"})
    role = Role("r", base, workspace=code)
    DockerWorkspaceMixin(docker_client=client).build_workspace_and_update_role(role, str(code), {})
    assert role.image.startswith("sha256:")
    assert docker20.run("run", "--rm", role.image, "cat", "main.py") == "print(1)"


def test_a_scheduler_passes_the_docker_client_to_the_mixin(client: DockerClient) -> None:
    scheduler = DockerScheduler("s", docker_client=client)
    assert scheduler._docker_client is client
    assert [name for name, _ in scheduler.run_opts()][-1] in [name for name, _ in scheduler.workspace_opts()]


def test_push_images_pushes_the_images_that_dryrun_push_images_returned(
    docker20: Docker, client: DockerClient, registry: Registry, busybox_image: Image, code: Workspace
) -> None:
    base = busybox_image.load(docker20, "mixins-base:1", config={"WorkingDir": "/app"})
    app = AppDef("a", [Role("r", base, workspace=code), Role("other", "busybox:1.36")])
    # No repository yet: the image goes into the engine.
    DockerWorkspaceMixin(docker_client=client).build_workspaces(app.roles, {})
    image = app.roles[0].image

    repository = f"{registry.host}/{registry.unique('mixins')}"
    fresh = DockerWorkspaceMixin(docker_client=client)
    to_push = fresh.dryrun_push_images(app, {"image_repo": repository})
    tag = image.removeprefix("sha256:")
    assert to_push == {image: (repository, tag)}
    assert [role.image for role in app.roles] == [f"{repository}:{tag}", "busybox:1.36"]


def test_push_images_of_a_fresh_object_pushes_an_image_that_topcoat_did_not_build(
    docker20: Docker, client: DockerClient, registry: Registry, busybox_image: Image
) -> None:
    name = busybox_image.load(docker20, "mixins-foreign:1", config={"Labels": {"built": "elsewhere"}})
    image = docker20.run("inspect", "--format", "{{.Id}}", name)
    repository = f"{registry.host}/{registry.unique('mixins')}"
    DockerWorkspaceMixin(docker_client=client).push_images({image: (repository, "v1")})
    assert fetch(registry, f"{repository}:v1").config["config"]["Labels"] == {"built": "elsewhere"}


def test_pushing_an_image_id_without_a_repository_is_an_error() -> None:
    app = AppDef("a", [Role("r", "sha256:" + "0" * 64)])
    with pytest.raises(InvalidRunConfigException, match="has to be pushed, and there is no repository") as caught:
        DockerWorkspaceMixin().dryrun_push_images(app, {})
    assert caught.value.hint == "-cfg image_repo=REGISTRY/REPOSITORY"


def test_a_build_with_a_repository_needs_no_engine(code: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with FakeRegistry() as registry:
        app = AppDef("a", [Role("r", add_base(registry), workspace=code)])
        cfg: dict[str, Any] = {"image_repo": f"{registry.host}/app"}
        mixin = DockerWorkspaceMixin()
        mixin.build_workspaces(app.roles, cfg)
        to_push = mixin.dryrun_push_images(app, cfg)
        mixin.push_images(to_push)
        assert list(to_push.values()) == [(f"{registry.host}/app", app.roles[0].image.rpartition(":")[2])]
        assert {"app/main.py"} <= names(fetch(registry, app.roles[0].image).layers[-1])


def test_an_image_obeys_dockerignore_and_torchxignore(tmp_path: Path) -> None:
    code = write(
        tmp_path / "both",
        {".dockerignore": "a\nb\n", ".torchxignore": "c\n!b\n", "a": "", "b": "", "c": "", "d": ""},
    )
    with FakeRegistry() as registry:
        app = AppDef("a", [Role("r", add_base(registry), workspace=code)])
        cfg: dict[str, Any] = {"image_repo": f"{registry.host}/app"}
        mixin = DockerWorkspaceMixin()
        mixin.build_workspaces(app.roles, cfg)
        mixin.push_images(mixin.dryrun_push_images(app, cfg))
        paths = names(fetch(registry, app.roles[0].image).layers[-1])
    assert paths == {"app", "app/.dockerignore", "app/.torchxignore", "app/b", "app/d"}


def test_the_directory_mixin_copies_into_job_dir_and_sets_it_as_the_image(code: Workspace, tmp_path: Path) -> None:
    role = Role("r", "base", workspace=code)
    job_dir = tmp_path / "job"
    DirWorkspaceMixin().build_workspace_and_update_role(role, str(code), {"job_dir": str(job_dir)})
    assert role.image == str(job_dir)
    assert role.env["WORKSPACE_DIR"] == str(job_dir)
    assert (job_dir / "main.py").read_text() == "print(1)\n"
    assert not (job_dir / "run.log").exists()


@pytest.mark.parametrize("cfg", [{}, {"job_dir": None}, {"job_dir": ""}])
def test_the_directory_mixin_does_nothing_without_job_dir(code: Workspace, cfg: dict[str, CfgVal]) -> None:
    role = Role("r", "base", workspace=code)
    mixin = DirWorkspaceMixin()
    mixin.build_workspace_and_update_role(role, str(code), cfg)
    mixin.build_workspaces([role], cfg)
    mixin.plan_workspaces([role], cfg)
    assert role == Role("r", "base", workspace=code)


def test_roles_with_the_same_workspace_share_job_dir_and_others_get_their_own(code: Workspace, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {".torchxignore": "", "other.py": ""})
    same, apart = _roles(code, code), _roles(code, other)
    DirWorkspaceMixin().build_workspaces(same, {"job_dir": str(tmp_path / "same")})
    DirWorkspaceMixin().build_workspaces(apart, {"job_dir": str(tmp_path / "apart")})
    assert [role.image for role in same] == [str(tmp_path / "same")] * 2
    assert [role.image for role in apart] == [str(tmp_path / "apart/r0"), str(tmp_path / "apart/r1")]
    assert (tmp_path / "apart/r1/other.py").exists()


class OldDocker(DockerWorkspaceMixin):
    """Know only the hook that the page calls deprecated."""

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        role.env["BUILT"] = workspace


class OldDir(DirWorkspaceMixin):
    """The same for directories."""

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        role.env["BUILT"] = workspace


@pytest.mark.parametrize("mixin", [OldDocker, OldDir])
def test_a_subclass_that_overrides_only_the_deprecated_hook_is_called_with_a_warning(
    mixin: type[WorkspaceMixin[Any]], code: Workspace
) -> None:
    (role,) = _roles(code)
    old = mixin()
    with pytest.warns(DeprecationWarning, match=f"{mixin.__name__} overrides build_workspace_and_update_role"):
        old.build_workspaces([role], {"job_dir": "/nowhere"})
    assert role.env == {"BUILT": str(code)}
    assert old.plan_workspaces([role], {}) is None, "it cannot be planned, so a dry run calls it"


def test_walk_workspace_is_lazy_and_yields_full_paths_and_infos() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/lazy/.torchxignore": b"*.log\n", "/lazy/a.py": b"12345", "/lazy/x.log": b"", "/lazy/sub/b.py": b""})
    walked = iter(walk_workspace(memory, "/lazy"))
    directory, directories, files = next(walked)
    assert (directory, list(directories), set(files)) == ("/lazy", ["sub"], {".torchxignore", "a.py"})
    assert files["a.py"] == next(info for info in memory.ls("/lazy", detail=True) if info["name"] == "/lazy/a.py")
    # What is below is looked at when it is asked for.
    memory.pipe("/lazy/sub/late.py", b"")
    directory, directories, files = next(walked)
    assert (directory, list(directories), set(files)) == ("/lazy/sub", [], {"b.py", "late.py"})
    assert next(walked, None) is None


def test_a_scheduler_that_cannot_use_a_workspace_refuses_it(code: Workspace) -> None:
    from topcoat.schedulers.local.cwd_scheduler import LocalScheduler

    app = AppDef("a", [Role("r", "", entrypoint="true", resource=Resource(1, 0, 1))])
    scheduler = LocalScheduler("s")
    with pytest.raises(UsageError, match="'local_cwd' cannot use a workspace"):
        scheduler.submit(app, {}, workspace=code)
    assert scheduler.list() == []
