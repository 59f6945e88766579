"""Copy a workspace's projects into one directory."""

from __future__ import annotations

import os
from pathlib import Path

from topcoat.destinations.copy import copy_file
from topcoat.errors import DestinationError
from topcoat.scan.job_dirs import without_job_dirs
from topcoat.scan.scanner import scan
from topcoat.specs.workspace import Workspace
from topcoat.state import make_directories


def merge(workspace: Workspace, outdir: str | Path) -> None:
    """Copy each project of *workspace* to its target below *outdir*, which may exist and have other files.

    Each project's own ignore files decide what is left out. If two projects have one file, the later one wins.
    Nothing is written through a link in *outdir*.

    Raises:
        WorkspaceNotFound: a project does not exist.
        DestinationError: *outdir* cannot be written, or has something else in the place of a file or directory.
    """
    root = os.path.abspath(os.path.expanduser(outdir))
    scanned = without_job_dirs(scan(workspace), workspace, root)
    try:
        make_directories(Path(root), 0o755)
        for entry in scanned.snapshot.entries:
            path = f"{root}/{os.fsdecode(entry.path)}"
            exists = os.path.lexists(path)
            directory = os.path.isdir(path) and not os.path.islink(path)
            if directory if entry.kind != "dir" else exists and not directory:
                what = "directory" if entry.kind == "dir" else entry.kind
                raise DestinationError(
                    f"{path} is in the way of a {what} of the workspace",
                    hint="remove it, or merge into an empty directory",
                )
            if entry.kind == "dir":
                if not directory:
                    os.mkdir(path, entry.mode)
                continue
            if exists:
                os.unlink(path)
            if entry.kind == "link":
                os.symlink(os.fsdecode(entry.content), path)
            else:
                copy_file(scanned, entry, path)
    except OSError as error:
        raise DestinationError(f"cannot merge the workspace into {root}: {error.strerror or error}") from error
