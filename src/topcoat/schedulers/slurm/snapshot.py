"""The snapshot of a job: where it lies, and how it gets there."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from topcoat.schedulers.slurm.site import Site
from topcoat.specs import CfgVal
from topcoat.workspace.dir_workspace import DirWorkspaceMixin

DEFAULT_ROOT = "~/.topcoat/jobs"


def shared_root(site: Site, cfg: Mapping[str, CfgVal]) -> str:
    """Return the directory of the job directories, on a file system that the nodes share."""
    return absolute(site, str(cfg.get("job_root") or DEFAULT_ROOT))


def absolute(site: Site, path: str) -> str:
    """Return *path* as an absolute path at *site*: ``~`` is the home directory there."""
    if path == "~" or path.startswith("~/"):
        path = posixpath.join(site.home(), path[2:])
    return posixpath.normpath(posixpath.join(site.home(), path))


class SnapshotWorkspace(DirWorkspaceMixin):
    """Copy the workspace into the job directory."""
