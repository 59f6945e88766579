"""Find the files that a job wrote into its job directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator

from topcoat.scan.job_dirs import MARKER

# Python and its tools write these beside the code that they read.
_CACHES = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache")


def all_files(directory: str) -> list[str]:
    """Return every file and link below *directory*, relative to it."""
    return sorted(path for path, _ in _walk(directory))


def unchanged_files(directory: str, job_file: str, linked: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files of the snapshot that are as the job got them, with their stat data; see `written_files`."""
    written = frozenset(written_files(directory, job_file, linked))
    if os.path.exists(job_file):
        yield from ((path, status) for path, status in _walk(directory) if path not in written)


def written_files(directory: str, job_file: str, linked: Collection[str]) -> list[str]:
    """Return the files and links that the job has written, relative to *directory*, sorted.

    Args:
        directory: the job directory, complete before *job_file* was written.
        job_file: written before the job started.
        linked: the files that may be hard links to those of other jobs.
    """

    def is_written(path: str, status: os.stat_result) -> bool:
        # A copy keeps its old modification time, so the time of the last change tells more. That of a hard link
        # changes with each new link, so there the modification time decides.
        return (status.st_mtime_ns if path in linked else status.st_ctime_ns) > started

    try:
        started = os.stat(job_file).st_ctime_ns
    except OSError:
        return []
    return sorted(path for path, status in _walk(directory) if is_written(path, status))


def _walk(directory: str, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _CACHES:
                    yield from _walk(entry.path, f"{prefix}{entry.name}/")
            elif f"{prefix}{entry.name}" != MARKER and not entry.name.endswith(".pyc"):
                yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
