"""The mixin that gives a scheduler workspaces (TorchX's ``torchx.workspace.api``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from topcoat.errors import InvalidRunConfigException
from topcoat.leftovers import private_directory
from topcoat.specs import AppDef, CfgVal, Role, Workspace, runopts
from topcoat.specs.delivery import Delivered, WorkspacePlan
from topcoat.workspace.hooks import RunsFrom, WorkspaceHooks
from topcoat.workspace.plan import RoleDelivery, RolePlans, apply_images, plan_roles, set_image
from topcoat.workspace.walk import TORCHX_IGNORE, walk_workspace

__all__ = [
    "TORCHX_IGNORE",
    "Delivered",
    "MultiWorkspaceMixin",
    "RoleDelivery",
    "RolePlans",
    "RunsFrom",
    "WorkspaceHooks",
    "WorkspaceMixin",
    "WorkspacePlan",
    "pin_workspace_images",
    "plan_roles",
    "walk_workspace",
]

T = TypeVar("T")


class WorkspaceMixin(WorkspaceHooks, ABC, Generic[T]):
    """Deliver a role's workspace to where its job runs, and change the role to use it.

    Mix it into a scheduler, before or after ``Scheduler`` in the list of bases. A subclass implements
    `caching_build_workspace_and_update_role`, or `plan_workspaces` (see `topcoat.workspace.plan.plan_roles`), or both.
    *T* is what `dryrun_push_images` returns and `push_images` takes; None if nothing is pushed.
    """

    uses_workspace: ClassVar[bool] = True
    _chosen_by: WorkspaceHooks | None = None
    """The scheduler whose `MultiWorkspaceMixin` chose this object: it knows what its jobs run from, and where."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)

    def workspace_opts(self) -> runopts:
        """Return the run options that this kind of workspace takes."""
        return runopts()

    def build_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> None:
        """Build the workspace of each role that has one, and update the role in place.

        Builds of one call share a cache; the next call has a new one. A mixin that can only plan carries its plan out.
        """
        plan = self.plan_workspaces(roles, cfg) if self._hooks_are_those_of(WorkspaceMixin) else None
        if plan is not None:
            apply_images(roles, plan.carry_out())
            return
        build_cache = self._new_build_cache(roles, cfg)
        for role in roles:
            if role.workspace:
                self.caching_build_workspace_and_update_role(role, cfg, build_cache)

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        """Build the role's workspace and update the role; *build_cache* is for results that other roles can use.

        The default passes the workspace to the deprecated `build_workspace_and_update_role`: a single directory as it
        is, several projects merged into a temporary one.
        """
        if not role.workspace:
            return
        if role.workspace.is_unmapped_single_project():
            self.build_workspace_and_update_role(role, role.workspace.resolved()[0].source, cfg)
            return
        import tempfile

        with private_directory(tempfile.gettempdir(), "topcoat-workspace-") as merged:
            role.workspace.merge_into(merged)
            self.build_workspace_and_update_role(role, str(merged), cfg)

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        """Build the directory *workspace* and update the role.

        Deprecated: implement `caching_build_workspace_and_update_role`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} implements neither plan_workspaces nor caching_build_workspace_and_update_role"
        )

    def dryrun_push_images(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> T:
        """Give the roles of *app* the names that their images will have after the push; return what to push."""
        raise NotImplementedError(f"{type(self).__name__} pushes no images")

    def push_images(self, images_to_push: T) -> None:
        """Push what `dryrun_push_images` returned."""
        raise NotImplementedError(f"{type(self).__name__} pushes no images")

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> WorkspacePlan | None:
        """Plan the workspaces of *roles* and change the roles; None, the default: the mixin must build first."""
        return None

    def _new_build_cache(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> dict[object, object]:
        return {}

    def _hooks_are_those_of(self, owner: type[WorkspaceMixin[Any]]) -> bool:
        """Tell whether no subclass of the built-in mixin *owner* overrides a build hook."""
        return all(
            getattr(type(self), hook) is getattr(owner, hook)
            for hook in (
                "build_workspaces",
                "build_workspace_and_update_role",
                "caching_build_workspace_and_update_role",
            )
        )

    def _calls_deprecated_hook_of_subclass(self, owner: type[WorkspaceMixin[Any]]) -> bool:
        """Tell whether a subclass of the built-in mixin *owner* overrides only the deprecated hook; warn if so."""
        if type(self).build_workspace_and_update_role is owner.build_workspace_and_update_role:
            return False
        import warnings

        warnings.warn(
            f"{type(self).__name__} overrides build_workspace_and_update_role, which is deprecated: "
            "override caching_build_workspace_and_update_role",
            DeprecationWarning,
            stacklevel=3,
        )
        return True


class MultiWorkspaceMixin(WorkspaceMixin[tuple[str, Any]]):
    """Several kinds of workspace for one scheduler; the run option ``workspace_type`` chooses."""

    WORKSPACE_TYPE_OPT: ClassVar[str] = "workspace_type"

    @abstractmethod
    def workspace_builders(self) -> Mapping[str, WorkspaceMixin[Any]]:
        """Return the kinds by name, the same objects at every call; the first is the default."""

    def workspace_builder(self, cfg: Mapping[str, CfgVal]) -> tuple[str, WorkspaceMixin[Any]]:
        """Return name and builder that *cfg* chooses.

        Raises:
            InvalidRunConfigException: names the choices.
        """
        builders = self.workspace_builders()
        name = str(cfg.get(self.WORKSPACE_TYPE_OPT) or next(iter(builders)))
        if name not in builders:
            raise InvalidRunConfigException(
                f"invalid {self.WORKSPACE_TYPE_OPT} {name!r}",
                self.WORKSPACE_TYPE_OPT,
                hint=f"choose one of {', '.join(builders)}",
            )
        builders[name]._chosen_by = self
        return name, builders[name]

    def workspace_opts(self) -> runopts:
        """Return the choice, and the options of every kind."""
        builders = self.workspace_builders()
        opts = runopts()
        opts.add(
            self.WORKSPACE_TYPE_OPT,
            type_=str,
            default=next(iter(builders)),
            help=f"how the workspace gets to the job: {', '.join(builders)}",
        )
        for builder in builders.values():
            opts.update(builder.workspace_opts())
        return opts

    def build_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> None:
        """Build with the chosen kind."""
        self.workspace_builder(cfg)[1].build_workspaces(roles, cfg)

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        """Build with the chosen kind."""
        self.workspace_builder(cfg)[1].caching_build_workspace_and_update_role(role, cfg, build_cache)

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> WorkspacePlan | None:
        """Plan with the chosen kind."""
        return self.workspace_builder(cfg)[1].plan_workspaces(roles, cfg)

    def dryrun_push_images(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> tuple[str, Any]:
        """Return the chosen kind's name and what it has to push; None if that kind pushes nothing."""
        name, builder = self.workspace_builder(cfg)
        if type(builder).dryrun_push_images is WorkspaceMixin.dryrun_push_images:
            return name, None
        return name, builder.dryrun_push_images(app, cfg)

    def push_images(self, images_to_push: tuple[str, Any]) -> None:
        """Push with the kind that *images_to_push* names."""
        name, images = images_to_push
        if images is not None:
            self.workspace_builders()[name].push_images(images)


def pin_workspace_images(app: AppDef, images: Mapping[tuple[str, Workspace], str]) -> None:
    """Give the roles of *app* images that were built before, in place.

    A role whose image and workspace together are a key of *images* gets that image and no workspace; others stay.
    """
    for role in app.roles:
        if role.workspace and (role.image, role.workspace) in images:
            set_image(role, images[role.image, role.workspace])
            role.workspace = None
