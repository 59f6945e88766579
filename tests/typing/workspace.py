"""A typed use of every public name of ``topcoat.workspace``, and a mixin as a user writes one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from docker import DockerClient
from fsspec.implementations.memory import MemoryFileSystem
from typing_extensions import assert_type

from topcoat.specs import AppDef, CfgVal, Role, Workspace, runopts
from topcoat.workspace import (
    TORCHX_IGNORE,
    MultiWorkspaceMixin,
    WorkspaceMixin,
    pin_workspace_images,
    walk_workspace,
)
from topcoat.workspace.api import (
    Delivered,
    RoleDelivery,
    RolePlans,
    RunsFrom,
    WorkspaceHooks,
    WorkspacePlan,
    plan_roles,
)
from topcoat.workspace.dir_workspace import DirWorkspaceMixin, TmpDirWorkspaceMixin
from topcoat.workspace.docker_workspace import TORCHX_DOCKERFILE, DockerWorkspaceMixin


class ArchiveMixin(WorkspaceMixin[list[str]]):
    """Upload archives."""

    def workspace_opts(self) -> runopts:
        opts = super().workspace_opts()
        opts.add("bucket", type_=str, required=True, help="where archives go")
        return opts

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        if role.workspace:
            role.env["ARCHIVE"] = str(build_cache.setdefault(role.workspace, cfg["bucket"]))

    def dryrun_push_images(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> list[str]:
        return [role.name for role in app.roles]

    def push_images(self, images_to_push: list[str]) -> None:
        print(images_to_push)


class Several(MultiWorkspaceMixin):
    """Let the user choose."""

    def __init__(self) -> None:
        super().__init__()
        self._builders: dict[str, WorkspaceMixin[Any]] = {
            "archive": ArchiveMixin(),
            "docker": DockerWorkspaceMixin(docker_client=DockerClient()),
            "dir": DirWorkspaceMixin(),
            "tmp": TmpDirWorkspaceMixin(),
        }

    def workspace_builders(self) -> Mapping[str, WorkspaceMixin[Any]]:
        return self._builders


role = Role("r", "base", workspace=Workspace({"src": ""}))
app = AppDef("a", [role])
archives = ArchiveMixin()
assert_type(archives.build_workspaces(app.roles, {"bucket": "b"}), None)
assert_type(archives.dryrun_push_images(app, {}), list[str])
archives.push_images(archives.dryrun_push_images(app, {}))
plan: WorkspacePlan | None = DirWorkspaceMixin().plan_workspaces(app.roles, {"job_dir": "/jobs/1"})
if plan is not None:
    assert_type(plan.lines(), list[str])
    plan.carry_out()

images = DockerWorkspaceMixin()
assert_type(images.dryrun_push_images(app, {"image_repo": "r/app"}), dict[str, tuple[str, str]])
images.push_images({"sha256:0": ("r/app", "tag")})
assert_type(images.workspace_opts(), runopts)

several = Several()
assert_type(several.workspace_builder({several.WORKSPACE_TYPE_OPT: "dir"}), tuple[str, WorkspaceMixin[Any]])
several.push_images(several.dryrun_push_images(app, {"workspace_type": "docker"}))

pin_workspace_images(app, {("base", Workspace({"src": ""})): "sha256:1"})
walked = walk_workspace(MemoryFileSystem(), "/project", TORCHX_IGNORE)
assert_type(walked, Iterable[tuple[str, Iterable[str], Mapping[str, Mapping[str, object]]]])
names: list[str] = [TORCHX_DOCKERFILE, TORCHX_IGNORE]


class MountedCode:
    """A delivery as a user writes one."""

    @property
    def expected(self) -> Delivered:
        return Delivered(pythonpath=("/code",))

    def carry_out(self) -> Delivered:
        return self.expected

    def describe(self) -> str:
        return "mounted"


class MountingMixin(WorkspaceMixin[None]):
    """A mixin that plans."""

    runs_from = RunsFrom.DIRECTORY

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> RolePlans:
        return plan_roles(roles, lambda role: MountedCode())


delivery: RoleDelivery = MountedCode()
hooks: WorkspaceHooks = MountingMixin()
plans: WorkspacePlan | None = hooks.plan_workspaces([], {})
assert_type(hooks.role_platform(Role("r", "image"), {}), str)
