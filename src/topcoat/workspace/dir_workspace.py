"""Workspaces as directories that the job sees (TorchX's ``torchx.workspace.dir_workspace``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, cast

from topcoat.destinations.directory import DirectoryDestination, LinkPolicy, without_job_dirs
from topcoat.destinations.push_records import context_of, until_settled
from topcoat.scan.scanner import Modes, Scan, ScanOptions, scan
from topcoat.specs import CfgVal, Role, Workspace, runopts
from topcoat.specs.cfg import one_of
from topcoat.workspace.api import WorkspaceMixin, set_image


class DirWorkspaceMixin(WorkspaceMixin[None]):
    """Copy the workspace into the run option ``job_dir``, and make that the role's image.

    Without ``job_dir`` nothing is done. Roles with the same workspace share the directory; roles with different ones
    get a directory below it that bears the role's name. ``.torchxignore`` decides what is left out.
    """

    def workspace_opts(self) -> runopts:
        """Return the run options of directory workspaces."""
        opts = runopts()
        opts.add(
            "job_dir", type_=str, default=None, help="directory that the workspace is copied to; the job runs there"
        )
        opts.add(
            "link",
            type_=str,
            default="copy",
            help="copy, or hard: unchanged files are hard links to those of the last job directory (a job that writes "
            "to them in place changes both)",
        )
        opts.add(
            "modes",
            type_=str,
            default="portable",
            help="portable: files 0644 or 0755, directories 0755; exact: permission bits as they are",
        )
        opts.add("pythonpath", type_=bool, default=True, help="put the code, and its src/, before installed packages")
        return opts

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        """Copy the role's workspace into its job directory and make that the role's image."""
        if not role.workspace:
            return
        if self._calls_deprecated_hook_of_subclass(DirWorkspaceMixin):
            super().caching_build_workspace_and_update_role(role, cfg, build_cache)
            return
        job_dir = cfg.get("job_dir")
        if not job_dir:
            return
        directory = str(build_cache.get((DirWorkspaceMixin, role.name), job_dir))
        key = (DirWorkspaceMixin, directory, role.workspace)
        if key not in build_cache:
            build_cache[key] = _copied(role.workspace, directory, cfg)
        _update(role, cast(DirPlan, build_cache[key]), cfg)

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        """Copy the directory *workspace* into ``job_dir`` and make that the role's image."""
        job_dir = cfg.get("job_dir")
        if job_dir:
            _update(role, _copied(Workspace({workspace: ""}), str(job_dir), cfg), cfg)

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> DirPlans | None:
        """Name the directories that the roles will run in; nothing is copied."""
        if not self._hooks_are_those_of(DirWorkspaceMixin):
            return None
        plans: dict[str, DirPlan] = {}
        for role, directory in _directories(roles, cfg):
            assert role.workspace
            if directory not in plans:
                plans[directory] = _plan(role.workspace, directory, cfg)
            _update(role, plans[directory], cfg)
        return DirPlans(list(plans.values()))

    def _new_build_cache(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> dict[object, object]:
        return {(DirWorkspaceMixin, role.name): directory for role, directory in _directories(roles, cfg)}


class TmpDirWorkspaceMixin(WorkspaceMixin[None]):
    """Copy the workspace into a fresh temporary directory, and make that the role's image."""

    def workspace_opts(self) -> runopts:
        """Return no run options: there is nothing to choose."""
        return runopts()

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        """Copy the role's workspace; roles with the same one share the copy."""
        if not role.workspace:
            return
        if self._calls_deprecated_hook_of_subclass(TmpDirWorkspaceMixin):
            super().caching_build_workspace_and_update_role(role, cfg, build_cache)
            return
        key = (TmpDirWorkspaceMixin, role.workspace)
        if key not in build_cache:
            build_cache[key] = self._copy(role.workspace, cfg)
        set_image(role, str(build_cache[key]))

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        """Copy the directory *workspace*."""
        set_image(role, self._copy(Workspace({workspace: ""}), cfg))

    def _copy(self, workspace: Workspace, cfg: Mapping[str, CfgVal]) -> str:
        import tempfile

        parent = tempfile.mkdtemp(prefix="topcoat-")
        try:
            return _copied(workspace, os.path.join(parent, "workspace"), cfg).destination.path
        except BaseException:
            os.rmdir(parent)
            raise


class DirPlan(NamedTuple):
    """One directory that is planned."""

    scan: Scan
    destination: DirectoryDestination
    context: str

    def carry_out(self) -> None:
        """Fill the directory, unless it holds this snapshot already."""
        self.destination.deliver(self.scan, self.context)


class DirPlans:
    """The directories that an application needs."""

    def __init__(self, plans: list[DirPlan]) -> None:
        self._plans = plans

    def carry_out(self) -> None:
        """Fill every directory."""
        for plan in self._plans:
            plan.carry_out()

    def lines(self) -> list[str]:
        """Describe the plan, a line for each directory."""
        return [
            f"{plan.destination.path}: {len(snapshot)} entries, {snapshot.size} bytes of {plan.context}"
            for plan in self._plans
            for snapshot in [plan.scan.snapshot]
        ]


def _plan(workspace: Workspace, directory: str, cfg: Mapping[str, CfgVal]) -> DirPlan:
    link = one_of(cfg, "link", ("copy", "hard"))
    modes = one_of(cfg, "modes", ("portable", "exact"))
    destination = DirectoryDestination(directory, link=cast(LinkPolicy, link))
    scanned = scan(workspace, ScanOptions(modes=cast(Modes, modes)))
    scanned = without_job_dirs(scanned, workspace, str(cfg.get("job_dir") or directory))
    destination.check(scanned.snapshot.digest)
    return DirPlan(scanned, destination, context_of(workspace))


def _copied(workspace: Workspace, directory: str, cfg: Mapping[str, CfgVal]) -> DirPlan:
    """Plan a directory and fill it at once."""

    def attempt() -> DirPlan:
        plan = _plan(workspace, directory, cfg)
        plan.carry_out()
        return plan

    return until_settled(attempt)


def _update(role: Role, plan: DirPlan, cfg: Mapping[str, CfgVal]) -> None:
    directory = plan.destination.path
    set_image(role, directory)
    role.env.setdefault("WORKSPACE_DIR", directory)
    if cfg.get("pythonpath") is not False:
        has_src = plan.scan.snapshot.has_directory(b"src")
        paths = [directory, *([f"{directory}/src"] if has_src else []), role.env.get("PYTHONPATH", "")]
        role.env["PYTHONPATH"] = ":".join(filter(None, paths))


def _directories(roles: list[Role], cfg: Mapping[str, CfgVal]) -> list[tuple[Role, str]]:
    """Return the roles that have a workspace, each with its directory; none without ``job_dir``."""
    job_dir = str(cfg.get("job_dir") or "")
    having = [role for role in roles if role.workspace] if job_dir else []
    if len({role.workspace for role in having}) <= 1:
        return [(role, job_dir) for role in having]
    return [(role, os.path.join(job_dir, role.name)) for role in having]
