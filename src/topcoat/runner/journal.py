"""Which jobs were submitted from this machine, from which workspace: an aid for the command line.

The backends know the jobs. Without this file, or with a part of it, a job is still found by its handle.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from topcoat.errors import StateError
from topcoat.specs import AppDef
from topcoat.state import make_private, state_dir, write_atomic

MAX_BYTES = 1 << 20
_MAX_LINE = 4096


class Submitted(NamedTuple):
    """A job that was submitted from this machine.

    Attributes:
        handle: its handle.
        name: the application's name.
        time: when it was submitted, as ``time.time``.
        directories: the current directory, and the workspaces.
    """

    handle: str
    name: str
    time: float
    directories: tuple[str, ...]

    @property
    def scheduler(self) -> str:
        """The name of its scheduler."""
        return self.handle.partition("://")[0]

    def belongs_to(self, directory: str) -> bool:
        """Tell whether *directory*, an absolute path, is one of its directories or below one."""
        return any(directory == own or directory.startswith(f"{own.rstrip('/')}/") for own in self.directories)


def record(handle: str, app: AppDef) -> None:
    """Add a job; do nothing if the state directory cannot be written."""
    workspaces = [source for role in app.roles if role.workspace for source, _ in role.workspace.resolved()]
    local = [os.path.abspath(source) for source in workspaces if "://" not in source]
    with suppress(OSError, StateError):
        entry = Submitted(handle, app.name, time.time(), tuple(dict.fromkeys([*local, os.getcwd()])))
        _append(entry._asdict())


def forget(handle: str) -> None:
    """Note that a job was deleted."""
    with suppress(OSError, StateError):
        _append({"deleted": handle})


def submitted() -> list[Submitted]:
    """Return the jobs, the newest first, without those that were deleted."""
    jobs: dict[str, Submitted] = {}
    for entry in _entries():
        if "deleted" in entry:
            jobs.pop(str(entry["deleted"]), None)
            continue
        with suppress(KeyError, TypeError, ValueError):
            directories = tuple(map(str, entry["directories"]))
            jobs[str(entry["handle"])] = Submitted(
                str(entry["handle"]), str(entry["name"]), float(entry["time"]), directories
            )
    return sorted(jobs.values(), key=lambda job: job.time, reverse=True)


def newest(directory: str) -> Submitted | None:
    """Return the newest job that was submitted from *directory* or a directory above it."""
    return next((job for job in submitted() if job.belongs_to(directory)), None)


def _append(entry: dict[str, Any]) -> None:
    line = json.dumps(entry).encode() + b"\n"
    if len(line) > _MAX_LINE:
        return
    path = state_dir("submitted.jsonl")
    make_private(path.parent)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)  # one write: lines of two commands do not mix
        is_large = os.fstat(handle).st_size > MAX_BYTES
    finally:
        os.close(handle)
    if is_large:
        lines = [json.dumps(job._asdict()).encode() for job in reversed(submitted()[:1000])]
        write_atomic(path, b"\n".join(lines) + b"\n")


def _entries() -> Iterable[dict[str, Any]]:
    try:
        with open(state_dir("submitted.jsonl"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * MAX_BYTES))
            lines = file.read(2 * MAX_BYTES).splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry
