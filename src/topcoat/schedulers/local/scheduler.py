"""Run applications as processes of this machine, each on a snapshot of its code (``local``).

It rehearses a cluster: what the ignore rules leave out is missing here too, and an edit after the start changes
nothing for the job. The rules are those of images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from topcoat.destinations.directory import DirectoryDestination
from topcoat.leftovers import claim, release
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Scan
from topcoat.scan.sources import current_directory
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local import retention
from topcoat.schedulers.local.cwd_scheduler import LocalScheduler
from topcoat.schedulers.local.editable import warn_of_editable_installs
from topcoat.schedulers.local.image_providers import ImageProvider
from topcoat.schedulers.local.job_records import JOB
from topcoat.schedulers.local.outputs import all_files, written_files
from topcoat.schedulers.local.request import PopenRequest, ReplicaParam, RoleStart
from topcoat.schedulers.responses import Freeable, JobOutputs
from topcoat.specs import AppDef, AppDryRunInfo, CfgVal, Role, Workspace, is_terminal, runopts
from topcoat.workspace.dir_workspace import DirDelivery, DirOptions, DirWorkspaceMixin

_CODE = "code"


class SnapshotScheduler(DirWorkspaceMixin, LocalScheduler):
    """Run every replica as a process in its role's snapshot; a role without a workspace runs in place."""

    ignore_files: ClassVar[tuple[str, ...]] = IMAGE_IGNORE_FILES

    def __init__(self, session_name: str) -> None:
        super().__init__(session_name, backend="local")

    def _run_opts(self) -> runopts:
        opts = super()._run_opts()
        opts.add(
            "job_dir", type_=str, help="directory for the snapshot (default: with the job, in the state directory)"
        )
        return opts

    def complete_cfg(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> Mapping[str, CfgVal]:
        """Keep the snapshot with the job, unless another directory is asked for."""
        job_dir = str(cfg.get("job_dir") or "")
        # The options of an earlier run may be used again, its directory may not.
        if (job_dir and not _is_used(job_dir)) or not any(role.workspace for role in app.roles):
            return cfg
        return {**cfg, "job_dir": str(local_jobs.directory(app_id) / _CODE)}

    def _plan_directory(self, workspace: Workspace, directory: str, options: DirOptions) -> DirDelivery:
        delivery = super()._plan_directory(workspace, directory, options)
        warn_of_editable_installs(workspace, delivery.scan.snapshot)
        return delivery._replace(destination=_JobDirectory(directory, link=options.link))

    def _job_dir_facts(self, dryrun_info: AppDryRunInfo[PopenRequest]) -> dict[str, Any]:
        app, cfg = dryrun_info.app, dryrun_info.cfg
        if app is None or not any(role.workspace for role in app.roles):
            return {}
        directory = os.path.abspath(os.path.expanduser(str(cfg.get("job_dir"))))
        return {"job_dir": directory, "linked": all_files(directory) if cfg.get("link") == "hard" else []}

    def freeable(self) -> Sequence[Freeable]:
        """Return the code of old jobs, see ``retention``."""
        return retention.freeable(local_jobs.load_all())

    def free(self, item: Freeable) -> None:
        """Remove the unchanged code of an old job."""
        job = local_jobs.load(item.id)
        if job is not None and is_terminal(job.state):
            retention.free(job)

    def outputs(self, app_id: str) -> JobOutputs | None:
        """Return the files that the job made or changed in its job directory."""
        job = self._load(app_id)
        directory = job.job.get("job_dir") if job else None
        if job is None or not directory:
            return None
        files = written_files(directory, str(job.directory / JOB), frozenset(job.job["linked"]))
        return JobOutputs(directory, files, Path(directory).is_relative_to(job.directory)) if files else None

    def _start(self, role: Role, provider: ImageProvider) -> RoleStart:
        is_directory = role.workspace or (os.path.isabs(role.image) and os.path.isdir(role.image))
        cwd = role.image if is_directory else current_directory()

        def replica_param(replica: Role, stdout: str, stderr: str, combined: str) -> ReplicaParam:
            return ReplicaParam([replica.entrypoint, *replica.args], replica.env, stdout, stderr, combined, cwd)

        return RoleStart(cwd, cwd, replica_param)


class _JobDirectory(DirectoryDestination):
    """A job directory; with the job's records, it is removed if this process is killed before the job is started."""

    def deliver(self, scan: Scan, workspace_key: str) -> bool:
        """Fill the directory; see `DirectoryDestination.deliver`."""
        jobs, path = local_jobs.directory("x").parent, Path(self.path)
        if not path.is_relative_to(jobs) or path == jobs:
            return super().deliver(scan, workspace_key)
        home = jobs / path.relative_to(jobs).parts[0]
        claim(home, unless=home / JOB)
        try:
            return super().deliver(scan, workspace_key)
        except BaseException:
            with suppress(OSError):
                home.rmdir()
                release(home)
            raise


def _is_used(job_dir: str) -> bool:
    path = Path(job_dir)
    return path.name == _CODE and path.parent == local_jobs.directory(path.parent.name) and (path.parent / JOB).exists()


def create_scheduler(session_name: str, **kwargs: object) -> SnapshotScheduler:
    """Return the scheduler ``local``."""
    return SnapshotScheduler(session_name)
