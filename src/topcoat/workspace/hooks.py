"""What a scheduler can do with workspaces: by default, refuse them.

`Scheduler` and `WorkspaceMixin` both derive from this class, so a mixin works before and after ``Scheduler`` among the
bases of a scheduler: Python puts a common base last.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar

from topcoat.errors import UsageError
from topcoat.specs import CfgVal, Role, runopts
from topcoat.specs.delivery import WorkspacePlan


class RunsFrom(Enum):
    """What the jobs of a scheduler run from."""

    ENGINE = "an image in this machine's container engine"
    REGISTRY = "an image in a registry"
    DIRECTORY = "a directory"


class WorkspaceHooks:
    """The hooks that a dry run calls.

    Attributes:
        uses_workspace: whether workspaces can be delivered.
        runs_from: what jobs run from. None: an image in the registry that ``image_repo`` names, else in the engine.
    """

    uses_workspace: ClassVar[bool] = False
    runs_from: ClassVar[RunsFrom | None] = None

    def workspace_opts(self) -> runopts:
        """Return the run options of the workspace."""
        return runopts()

    def role_platform(self, role: Role, cfg: Mapping[str, CfgVal]) -> str:
        """Return the platform (``os/architecture``) of the nodes that *role* runs on; empty if it is not known.

        The run option ``platform`` wins over it. A scheduler that selects nodes by platform overrides this.
        """
        return ""

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> WorkspacePlan | None:
        """Plan the workspaces of *roles* and change the roles to what they will get; nothing is built or sent.

        Args:
            roles: changed in place.
            cfg: resolved run options.

        Returns:
            None if this is known only after the build: the caller then calls `build_workspaces`.

        Raises:
            UsageError: a role has a workspace, and the scheduler cannot use one.
        """
        for role in roles:
            if role.workspace:
                name = getattr(self, "backend", type(self).__name__)
                raise UsageError(
                    f"the scheduler {name!r} cannot use a workspace, and role {role.name!r} has one: {role.workspace}",
                    hint="use another scheduler, or give no workspace (--workspace '')",
                )
        return None

    def build_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> None:
        """Build the workspaces of *roles* at once and change the roles to what they got."""
        self.plan_workspaces(roles, cfg)
