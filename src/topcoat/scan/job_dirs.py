"""Job directories of topcoat inside a workspace: no job gets them."""

from __future__ import annotations

import os
import re

from topcoat.notices import notice
from topcoat.scan.names import decode, encode_declared
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Snapshot
from topcoat.scan.sources import local_path
from topcoat.specs.projects import Projects

MARKER = ".topcoat.json"
"""The file at the root of a job directory that says which snapshot it holds."""

FACTS = ".topcoat"
"""The directory of a Slurm job's own files, beside its code or in it."""

REPLICA_SCRIPT = "replica.sh"
"""The first file of a job there; it holds the variables of the job, which may be secret."""

BATCH_SCRIPT, JOB_JSON, DELIVERED, BATCH_LOG = "script.sh", "job.json", "delivered", "logs/slurm.log"
"""Other files of a job there."""

_MARKER = f"/{MARKER}".encode()
# A pattern of the user may leave out some of them.
_NAMES = (REPLICA_SCRIPT, BATCH_SCRIPT, JOB_JSON, DELIVERED, BATCH_LOG)
_SIGNS = (_MARKER, *(f"/{name}".encode() for name in _NAMES))
_FACTS_OF_A_JOB = re.compile(
    rf"((?:.*/)?{re.escape(FACTS)})/(?:[^/]+/)?(?:{'|'.join(map(re.escape, _NAMES))})".encode(), re.DOTALL
)


def without_job_dirs(scan: Scan, workspace: Projects, job_dir: str = "") -> Scan:
    """Leave out of *scan* what topcoat itself put into the workspace: *job_dir*, and job directories of earlier runs.

    Directories that hold nothing else are left out too, so that the first job and its repetition have one snapshot.
    """
    entries = scan.snapshot.entries
    signs = [entry.path for entry in entries if entry.path.endswith(_SIGNS)]
    earlier = {path.removesuffix(_MARKER) for path in signs if path.endswith(_MARKER)}
    left_out = earlier | {match[1] for path in signs if (match := _FACTS_OF_A_JOB.fullmatch(path))}
    left_out |= _paths_in_workspace(workspace, job_dir) if job_dir else set()
    if not left_out:
        return scan
    below = tuple(path + b"/" for path in left_out)
    kept = {entry.path: entry for entry in entries if not (entry.path + b"/").startswith(below)}
    for path in left_out:
        while (path := path.rpartition(b"/")[0]) and not any(other.startswith(path + b"/") for other in kept):
            kept.pop(path, None)
    for path in sorted(earlier):
        notice(f"{decode(path)} is a job directory: left out")
    return scan.narrow(Snapshot(kept.values(), preserve_mtimes=scan.snapshot.preserve_mtimes))


def _paths_in_workspace(workspace: Projects, job_dir: str) -> set[bytes]:
    """Return the path that *job_dir* would have in the snapshot, for each directory of the workspace that it is in."""
    paths = set()
    path = os.path.realpath(os.path.expanduser(job_dir))
    for source, target in workspace.resolved():
        local = local_path(source)
        inner = "" if local is None else os.path.relpath(path, os.path.realpath(local))
        if inner and inner.split(os.sep)[0] not in (os.curdir, os.pardir):
            above = [encode_declared(target)] if target else []
            paths.add(b"/".join([*above, *map(os.fsencode, inner.split(os.sep))]))
    return paths
