"""The snapshot of a job: where it lies, and how it gets there."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping, Sequence

from topcoat.destinations.directory import DirectoryDestination
from topcoat.destinations.last_snapshot import LastSnapshot
from topcoat.destinations.push_records import workspace_key
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import begin_scan
from topcoat.scan.snapshot import Snapshot
from topcoat.schedulers.slurm.remote_directory import RemoteDirectory
from topcoat.schedulers.slurm.site import Site
from topcoat.schedulers.slurm.ssh import SshSite
from topcoat.specs import CfgVal, Role, Workspace, runopts
from topcoat.workspace.dir_workspace import DirDelivery, DirOptions, DirWorkspaceMixin, plan_directory

DEFAULT_ROOT = "~/.topcoat/jobs"


def shared_root(site: Site, cfg: Mapping[str, CfgVal]) -> str:
    """Return the directory of the job directories, on a file system that the nodes share."""
    return absolute(site, str(cfg.get("job_root") or DEFAULT_ROOT))


def absolute(site: Site, path: str) -> str:
    """Return *path* as an absolute path at *site*: ``~`` is the home directory there, and where relative paths start.

    On this machine they start in the current directory.
    """
    if not site.host:
        return os.path.abspath(os.path.expanduser(path))
    if not path.startswith("/"):
        path = posixpath.join(site.home(), path[2:] if path == "~" or path.startswith("~/") else path)
    return posixpath.normpath(path)


class SnapshotWorkspace(DirWorkspaceMixin):
    """Copy the workspace into the job directory, here or on the login node."""

    def __init__(self, find_site: Callable[[str], Site]) -> None:
        """Take a function that returns the site of a ``slurm_host``."""
        super().__init__()
        self._find_site = find_site
        # What was planned and is not submitted yet, by path.
        self._planned: dict[str, Snapshot] = {}

    def workspace_opts(self) -> runopts:
        """Add the directory of all jobs to the options of directory workspaces."""
        opts = super().workspace_opts()
        opts.add(
            "job_root",
            type_=str,
            default=DEFAULT_ROOT,
            help="directory, on a file system that the nodes share, with a directory for each job that has no job_dir",
        )
        return opts

    def begin_scans(self, roles: Sequence[Role], cfg: Mapping[str, CfgVal]) -> None:
        """Begin to scan the workspaces of *roles* while a connection is opened."""
        options = DirOptions.parse(cfg)
        for role in roles:
            if role.workspace:
                begin_scan(role.workspace, options.scan_options(self.ignore_files))

    def delivered_to(self, directories: Sequence[str]) -> bytes:
        """Return the paths of all files that go to *directories*, below the directory that has them all, sorted."""
        paths: set[bytes] = set()
        for directory in set(directories).intersection(self._planned):
            inner = posixpath.relpath(directory, posixpath.commonpath(directories))
            prefix = b"" if inner == "." else os.fsencode(f"{inner}/")
            files = [entry.path for entry in self._planned.pop(directory) if entry.kind != "dir"]
            paths.update([prefix + path for path in (MARKER.encode(), *files)])
        return b"".join([path + b"\0" for path in sorted(paths)])

    def _plan_directory(self, workspace: Workspace, directory: str, options: DirOptions) -> DirDelivery:
        delivery = self._plan(workspace, directory, options)
        if options.link == "hard":
            self._planned[delivery.destination.path] = delivery.scan.snapshot
        return delivery

    def _plan(self, workspace: Workspace, directory: str, options: DirOptions) -> DirDelivery:
        site = self._find_site(str(options.cfg.get("slurm_host") or ""))
        if isinstance(site, SshSite):
            # Meanwhile, the connection is opened.
            begin_scan(workspace, options.scan_options(self.ignore_files))
            last = LastSnapshot.read(site.host, workspace_key(workspace))
            remote = RemoteDirectory(site, absolute(site, directory), link=options.link, last=last)
            return plan_directory(workspace, remote, options, self.ignore_files)
        local = DirectoryDestination(directory, link=options.link)
        # The directories of all jobs: beside their snapshots they have logs.
        root = shared_root(site, options.cfg)
        exclude = root if f"{directory}/".startswith(f"{root}/") else options.job_dir
        return plan_directory(workspace, local, options, self.ignore_files, exclude=exclude)
