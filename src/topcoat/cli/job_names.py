"""Find the job that the user means: the newest of this workspace, or one by a part of its name."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from topcoat.errors import InvalidHandle, UnknownApp, UsageError

if TYPE_CHECKING:
    from topcoat.specs import CfgVal

_HANDLE = re.compile(r"([^\s/:]+://[^\s/]*/[^\s/]+)((?:/[^\s/]+){0,2})/?")
_MAX_SHOWN = 5
LOCAL_SCHEDULERS = ("local", "local_cwd")
"""The schedulers whose jobs are all in the state directory."""


class JobPath(NamedTuple):
    """Name a job, one of its roles, or replicas of a role; an empty list means all."""

    handle: str
    roles: list[str]
    numbers: list[int]


def find_job(text: str | None) -> str:
    """Return the handle of the job that *text* names; ``None`` means the newest job of this workspace.

    Raises:
        UnknownApp: there is no such job.
        UsageError: several jobs match.
        InvalidHandle: *text* looks like a handle, but is not a valid one.
    """
    if text is None:
        return _newest()
    if "://" in text:
        from topcoat.specs import parse_app_handle

        parse_app_handle(text)
        return text
    return _find_part(text)


def find_job_path(text: str | None) -> JobPath:
    """Return what ``JOB[/ROLE[,ROLE][/K[,K]]]`` names; see `find_job`."""
    if text is None:
        return JobPath(find_job(None), [], [])
    match = _HANDLE.fullmatch(text)
    if match is None and "://" in text:
        raise InvalidHandle(
            f"invalid handle {text!r}: expected scheduler://session/app_id[/role[/k,k]]",
            hint="topcoat list shows your jobs",
        )
    job, _, rest = text.partition("/") if match is None else (match[1], "", match[2].strip("/"))
    roles, _, numbers = rest.partition("/")
    if numbers.strip("0123456789,") or (numbers and not numbers.replace(",", "")):
        raise UsageError(f"invalid replica {numbers!r} in {text!r}", hint="JOB/ROLE/0 or JOB/ROLE/0,2")
    return JobPath(
        find_job(job),
        [role for role in roles.split(",") if role],
        [int(number) for number in numbers.split(",") if number],
    )


def known_handles() -> list[str]:
    """Return the handles of the jobs that this machine knows, the newest first."""
    from topcoat.runner import journal

    others = [job.handle for job in journal.submitted() if job.scheduler not in LOCAL_SCHEDULERS]
    return [*_local_handles(), *others]


class Place(NamedTuple):
    """Name a scheduler, and with run options where its jobs are."""

    scheduler: str
    cfg: dict[str, CfgVal]

    def __str__(self) -> str:
        return " at ".join([self.scheduler, *map(str, self.cfg.values())])


def used_places(scheduler: str | None = None) -> list[Place]:
    """Return the places of this machine's jobs, or of those of *scheduler*: each login node of Slurm is one."""
    from topcoat.runner import journal

    places = [] if scheduler else [Place(name, {}) for name in LOCAL_SCHEDULERS]
    for job in journal.submitted():
        host = job.handle.rpartition("/")[2].partition("@")[2] if job.scheduler == "slurm" else ""
        place = Place(job.scheduler, {"slurm_host": host} if host else {})
        if place not in places and scheduler in (None, job.scheduler):
            places.append(place)
    return places or [Place(scheduler or "", {})]


def _local_handles() -> list[str]:
    """Return the handles of the jobs in the state directory, the newest first."""
    from topcoat.runner.api import SESSION
    from topcoat.schedulers.local import jobs as local_jobs
    from topcoat.specs import make_app_handle

    return [make_app_handle(job.job["scheduler"], SESSION, job.directory.name) for job in local_jobs.load_all()]


def _newest() -> str:
    from topcoat.cli.output import say
    from topcoat.runner import journal

    existing = set(known_handles())
    directory = os.getcwd()
    jobs = (job for job in journal.submitted() if job.handle in existing and job.belongs_to(directory))
    if (job := next(jobs, None)) is None:
        raise UnknownApp(
            "no job was submitted from this workspace yet",
            hint="topcoat run -- CMD; topcoat list shows the jobs of other workspaces",
        )
    say(f"the newest job of this workspace: {job.handle}")
    return job.handle


def _find_part(text: str) -> str:
    from topcoat.runner import journal

    if not text:
        raise UsageError("the name of the job is empty", hint="topcoat list shows your jobs")
    names = {job.handle: job.name for job in journal.submitted()}
    handles = known_handles()
    matches = [handle for handle in handles if handle.rpartition("/")[2] == text] or [
        handle for handle in handles if text in handle or text in names.get(handle, "")
    ]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UnknownApp(
            f"no job matches {text!r}",
            hint="topcoat list; a job of another machine needs its full handle: scheduler://session/app_id",
        )
    shown = ", ".join(handle.rpartition("/")[2] for handle in matches[:_MAX_SHOWN])
    more = f" and {len(matches) - _MAX_SHOWN} more" if len(matches) > _MAX_SHOWN else ""
    raise UsageError(f"{len(matches)} jobs match {text!r}: {shown}{more}", hint="type more of the name")


class RemotePath(NamedTuple):
    """A path in a replica."""

    job: JobPath
    path: str


def split_remote(text: str) -> tuple[str, str] | None:
    """Split ``JOB[/ROLE[/K]]:PATH`` into job and path; ``None`` if *text* has no such colon: a local path.

    As with scp, a local path with a colon is written with a slash before it: ``./a:b``. The id of a job may have one
    colon on schedulers whose ids are ``namespace:name``.
    """
    scheme = text.find("://")
    start = text.find("/", scheme + 3) + 1 if scheme > 0 else 0
    colon = text.find(":", start)
    slash = text.find("/")
    if colon < 0 or (scheme < 0 and (slash == 0 or text.startswith((".", "~")))):
        return None
    if scheme > 0 and text[:scheme] in ("kubernetes", "aws_batch"):
        second = text.find(":", colon + 1)
        colon = second if second >= 0 else colon
    return text[:colon], text[colon + 1 :]


def remote_path(job: str, path: str) -> RemotePath:
    """Return the path in the replica that *job* names.

    Raises:
        UsageError: the path is empty.
    """
    if not path:
        raise UsageError(f"the path after {job}: is empty", hint=f"{job}:outputs, or {job}:. for the whole directory")
    return RemotePath(find_job_path(job), path)
