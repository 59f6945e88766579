"""How long local jobs keep their code.

The last 20 jobs, and every job of the last 7 days, keep everything. An older job that has ended keeps its record, its
logs and the files that it wrote or changed; the unchanged files of its snapshot can be freed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from topcoat.schedulers.local.job_records import JOB
from topcoat.schedulers.local.jobs import LocalJob
from topcoat.schedulers.local.outputs import unchanged_files
from topcoat.schedulers.responses import Freeable
from topcoat.specs import is_terminal

KEPT_JOBS = 20
KEPT_DAYS = 7


def freeable(jobs: Iterable[LocalJob]) -> Sequence[Freeable]:
    """Return the code of old jobs; *jobs* are sorted, the newest first."""
    limit = time.time() - KEPT_DAYS * 86400
    items = []
    for position, job in enumerate(jobs):
        if position < KEPT_JOBS or job.job["created"] > limit or not is_terminal(job.state):
            continue
        size = sum(size for _, size in _unchanged(job))
        if size:
            items.append(Freeable(f"unchanged code of the job {job.directory.name}", job.directory.name, size))
    return items


def free(job: LocalJob) -> None:
    """Remove the unchanged files of a job's snapshot, and the directories that are empty then."""
    for path, _ in _unchanged(job):
        with suppress(OSError):
            os.unlink(path)
    code = _own_directory(job)
    for directory, _, _ in os.walk(code, topdown=False) if code else ():
        with suppress(OSError):  # not empty
            os.rmdir(directory)


def _own_directory(job: LocalJob) -> Path | None:
    """Return the job directory if it lies with the job; one that the user chose is the user's."""
    directory = job.job.get("job_dir")
    return Path(directory) if directory and Path(directory).is_relative_to(job.directory) else None


def _unchanged(job: LocalJob) -> Iterator[tuple[str, int]]:
    """Yield path and size of each unchanged file."""
    directory = _own_directory(job)
    if directory is not None:
        linked = frozenset(job.job.get("linked") or ())
        for path, status in unchanged_files(str(directory), str(job.directory / JOB), linked):
            yield os.path.join(directory, path), status.st_blocks * 512
