"""Workspaces as directories that the job sees (TorchX's ``torchx.workspace.dir_workspace``)."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, NamedTuple, Protocol, cast

from topcoat.destinations.directory import DirectoryDestination
from topcoat.destinations.file_maker import LinkPolicy
from topcoat.destinations.push_records import workspace_key
from topcoat.leftovers import claimed
from topcoat.notices import notices_once
from topcoat.scan.import_paths import import_paths
from topcoat.scan.job_dirs import without_job_dirs
from topcoat.scan.retry import retry_if_changed
from topcoat.scan.scanner import DIRECTORY_IGNORE_FILES, Modes, Scan, ScanOptions, scan
from topcoat.scan.snapshot import Snapshot
from topcoat.specs import CfgVal, Role, Workspace, runopts
from topcoat.specs.cfg import one_of
from topcoat.specs.delivery import Delivered
from topcoat.workspace.api import WorkspaceMixin
from topcoat.workspace.hooks import RunsFrom
from topcoat.workspace.plan import RolePlans, apply_to_role, plan_roles, set_image


class DirWorkspaceMixin(WorkspaceMixin[None]):
    """Copy the workspace into the run option ``job_dir``, and make that the role's image.

    Without ``job_dir`` nothing is done. Roles with the same workspace share the directory; roles with different ones
    get a directory below it with the role's name.

    Attributes:
        ignore_files: names of the ignore files that decide what is left out, read as one list.
    """

    runs_from: ClassVar[RunsFrom | None] = RunsFrom.DIRECTORY
    ignore_files: ClassVar[tuple[str, ...]] = DIRECTORY_IGNORE_FILES

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
        options = DirOptions.parse(cfg)
        if not options.job_dir:
            return
        directory = str(build_cache.get((DirWorkspaceMixin, role.name), options.job_dir))
        key = (DirWorkspaceMixin, directory, role.workspace)
        if key not in build_cache:
            build_cache[key] = _carry_out(partial(self._plan_directory, role.workspace, directory, options))
        apply_to_role(role, cast(Delivered, build_cache[key]))

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        """Copy the directory *workspace* into ``job_dir`` and make that the role's image."""
        options = DirOptions.parse(cfg)
        if options.job_dir:
            plan = partial(self._plan_directory, Workspace({workspace: ""}), options.job_dir, options)
            apply_to_role(role, _carry_out(plan))

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> RolePlans | None:
        """Name the directories that the roles will run in; nothing is copied."""
        if not self._hooks_are_those_of(DirWorkspaceMixin):
            return None
        options = DirOptions.parse(cfg)
        directories = _directories(roles, options.job_dir)
        plans: dict[str, DirDelivery] = {}

        def plan_role(role: Role) -> DirDelivery:
            assert role.workspace
            directory = directories[role.name]
            if directory not in plans:
                plans[directory] = self._plan_directory(role.workspace, directory, options)
            return plans[directory]

        return plan_roles([role for role in roles if role.name in directories], plan_role)

    def _new_build_cache(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> dict[object, object]:
        directories = _directories(roles, DirOptions.parse(cfg).job_dir)
        return {(DirWorkspaceMixin, name): directory for name, directory in directories.items()}

    def _plan_directory(self, workspace: Workspace, directory: str, options: DirOptions) -> DirDelivery:
        destination = DirectoryDestination(directory, link=options.link)
        return plan_directory(workspace, destination, options, self.ignore_files, exclude=options.job_dir or directory)


class TmpDirWorkspaceMixin(WorkspaceMixin[None]):
    """Copy the workspace into a fresh temporary directory, and make that the role's image."""

    runs_from: ClassVar[RunsFrom | None] = RunsFrom.DIRECTORY

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
            build_cache[key] = self._copy_to_temporary(role.workspace, cfg)
        set_image(role, str(build_cache[key]))

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        """Copy the directory *workspace*."""
        set_image(role, self._copy_to_temporary(Workspace({workspace: ""}), cfg))

    def _copy_to_temporary(self, workspace: Workspace, cfg: Mapping[str, CfgVal]) -> str:
        import tempfile

        parent = tempfile.mkdtemp(prefix="topcoat-")
        with claimed(parent):
            try:
                options = DirOptions.parse(cfg)
                destination = DirectoryDestination(f"{parent}/workspace", link=options.link)
                return _carry_out(lambda: plan_directory(workspace, destination, options, exclude=parent)).image
            except BaseException:
                os.rmdir(parent)
                raise


class SnapshotDestination(Protocol):
    """A directory, here or on another machine, that gets a snapshot; see `DirectoryDestination`."""

    path: str

    def check(self, snapshot: Snapshot) -> bool:
        """Tell whether the directory has *snapshot* already, or raise `JobDirConflict`."""

    def deliver(self, scan: Scan, workspace_key: str) -> bool:
        """Fill the directory; return False if it has the snapshot already."""


class DirDelivery(NamedTuple):
    """The delivery of one workspace into a directory.

    Attributes:
        scan: the snapshot.
        destination: the directory.
        workspace_key: names the workspace.
        pythonpath: the directories that go before installed packages.
    """

    scan: Scan
    destination: SnapshotDestination
    workspace_key: str
    pythonpath: tuple[str, ...]

    @property
    def expected(self) -> Delivered:
        """The directory as the role's image, and the variables that name it."""
        path = self.destination.path
        return Delivered(path, {"WORKSPACE_DIR": path}, self.pythonpath)

    def carry_out(self) -> Delivered:
        """Fill the directory, unless it has this snapshot already."""
        self.destination.deliver(self.scan, self.workspace_key)
        return self.expected

    @property
    def shipped(self) -> tuple[str, Snapshot] | None:
        """The workspace and its snapshot."""
        return self.workspace_key, self.scan.snapshot

    def describe(self) -> str:
        """Return the plan as one line of text."""
        snapshot = self.scan.snapshot
        return f"{self.destination.path}: {len(snapshot)} entries, {snapshot.size} bytes of {self.workspace_key}"


class DirOptions(NamedTuple):
    """The run options of directory workspaces, parsed; *cfg* has all run options."""

    job_dir: str
    link: LinkPolicy
    modes: Modes
    pythonpath: bool
    cfg: Mapping[str, CfgVal]

    @classmethod
    def parse(cls, cfg: Mapping[str, CfgVal]) -> DirOptions:
        return cls(
            str(cfg.get("job_dir") or ""),
            cast(LinkPolicy, one_of(cfg, "link", ("copy", "hard"))),
            cast(Modes, one_of(cfg, "modes", ("portable", "exact"))),
            cfg.get("pythonpath") is not False,
            cfg,
        )

    def scan_options(self, ignore_files: tuple[str, ...]) -> ScanOptions:
        """Return how `plan_directory` scans a workspace."""
        return ScanOptions(ignore_files, self.modes)


def plan_directory(
    workspace: Workspace,
    destination: SnapshotDestination,
    options: DirOptions,
    ignore_files: tuple[str, ...] = DIRECTORY_IGNORE_FILES,
    *,
    exclude: str = "",
) -> DirDelivery:
    """Scan *workspace* without the directory *exclude* and earlier job directories, and plan to deliver it.

    Raises:
        JobDirConflict: the destination has other content.
    """
    scanned = without_job_dirs(scan(workspace, options.scan_options(ignore_files)), workspace, exclude)
    destination.check(scanned.snapshot)
    paths = import_paths(scanned.snapshot, destination.path) if options.pythonpath else ()
    return DirDelivery(scanned, destination, workspace_key(workspace), paths)


def _carry_out(plan: Callable[[], DirDelivery]) -> Delivered:
    """Plan a directory and fill it at once."""
    with notices_once():
        return retry_if_changed(lambda: plan().carry_out())


def _directories(roles: list[Role], job_dir: str) -> dict[str, str]:
    """Return the directory of each role that has a workspace, by role name; empty without *job_dir*."""
    with_workspace = [role for role in roles if role.workspace] if job_dir else []
    if len({role.workspace for role in with_workspace}) <= 1:
        return {role.name: job_dir for role in with_workspace}
    # With a slash also on Windows: the directory may be on a login node.
    return {role.name: posixpath.join(job_dir, role.name) for role in with_workspace}
