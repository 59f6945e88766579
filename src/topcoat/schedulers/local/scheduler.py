"""Run applications as processes of this machine, each on a snapshot of its code (``local``).

It rehearses a cluster: what the ignore rules leave out is missing here too, and an edit after the start changes
nothing for the job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from topcoat.scan.sources import current_directory
from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.cwd_scheduler import LocalScheduler
from topcoat.specs import AppDef, CfgVal, Role, runopts
from topcoat.workspace.dir_workspace import DirWorkspaceMixin

_CODE = "code"


class SnapshotScheduler(DirWorkspaceMixin, LocalScheduler):
    """Run every replica as a process in its role's snapshot; a role without a workspace runs in place."""

    def __init__(self, session_name: str) -> None:
        super().__init__(session_name, backend="local")

    def _run_opts(self) -> runopts:
        opts = super()._run_opts()
        opts.add(
            "job_dir", type_=str, help="directory for the snapshot (default: with the job, in the state directory)"
        )
        return opts

    def complete_cfg(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> Mapping[str, CfgVal]:
        """Put the snapshot beside the job, unless *cfg* names another ``job_dir``."""
        wanted = cfg.get("job_dir")
        # The options of an earlier run may be used again, its directory may not.
        if (wanted and not _is_used(str(wanted))) or not any(role.workspace for role in app.roles):
            return cfg
        return {**cfg, "job_dir": str(local_jobs.directory(app_id_for(app.name)) / _CODE)}

    def _app_id(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> str:
        job_dir = Path(str(cfg.get("job_dir") or ""))
        home = job_dir.parent
        return home.name if job_dir.name == _CODE and home == local_jobs.directory(home.name) else app_id_for(app.name)

    def _root(self, role: Role) -> str:
        if role.workspace or (os.path.isabs(role.image) and os.path.isdir(role.image)):
            return role.image
        return current_directory()


def _is_used(job_dir: str) -> bool:
    path = Path(job_dir)
    return (
        path.name == _CODE
        and path.parent == local_jobs.directory(path.parent.name)
        and (path.parent / "job.json").exists()
    )


def create_scheduler(session_name: str, **kwargs: object) -> SnapshotScheduler:
    """Return the scheduler ``local``."""
    return SnapshotScheduler(session_name)
