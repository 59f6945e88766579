"""Job directories of topcoat inside a workspace: no job gets them."""

from __future__ import annotations

import os

from topcoat.notices import notice
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Snapshot
from topcoat.specs.projects import Projects

MARKER = ".topcoat.json"
"""The file at the root of a job directory that says which snapshot it holds."""


def without_job_dirs(scan: Scan, workspace: Projects, job_dir: str = "") -> Scan:
    """Leave out of *scan* what topcoat itself put into the workspace: *job_dir*, and job directories of earlier runs.

    Directories that hold nothing else are left out too, so that the first job and its repetition have one snapshot.
    """
    entries, marker = scan.snapshot.entries, b"/" + MARKER.encode()
    earlier = {entry.path.removesuffix(marker) for entry in entries if entry.path.endswith(marker)}
    left_out = earlier | (_inside(workspace, job_dir) if job_dir else set())
    if not left_out:
        return scan
    below = tuple(path + b"/" for path in left_out)
    kept = {entry.path: entry for entry in entries if not (entry.path + b"/").startswith(below)}
    for path in left_out:
        while (path := path.rpartition(b"/")[0]) and not any(other.startswith(path + b"/") for other in kept):
            kept.pop(path, None)
    for path in sorted(earlier):
        notice(f"{os.fsdecode(path)} is a job directory: left out")
    return scan.narrow(Snapshot(kept.values(), preserve_mtimes=scan.snapshot.preserve_mtimes))


def _inside(workspace: Projects, job_dir: str) -> set[bytes]:
    """Return where *job_dir* would be in the snapshot, for each directory of the workspace that it lies in."""
    found = set()
    path = os.path.realpath(os.path.expanduser(job_dir))
    for source, target in workspace.resolved():
        inner = "" if "://" in source else os.path.relpath(path, os.path.realpath(source))
        if inner and inner.split(os.sep)[0] not in (os.curdir, os.pardir):
            found.add(os.fsencode("/".join([*filter(None, [target]), *inner.split(os.sep)])))
    return found
