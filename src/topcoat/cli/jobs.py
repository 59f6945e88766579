"""Helpers of the commands that take handles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topcoat.runner import Runner
    from topcoat.specs import AppStatus


def each_job(handles: Iterable[str], action: Callable[[Runner, str], object]) -> int:
    """Call *action* for each job, in the order of *handles*, and return the exit code.

    Raises:
        UnknownApp: unknown job; the jobs before it are done.
    """
    from topcoat.cli.arguments import open_runner
    from topcoat.cli.follow import unknown_app

    with open_runner() as runner:
        for handle in handles:
            if runner.status(handle) is None:
                raise unknown_app(handle)
            action(runner, handle)
    return 0


def job_facts(handle: str) -> dict[str, Any]:
    """Return the parts of a handle under the names of ``torchx --json``.

    Raises:
        InvalidHandle: invalid handle.
    """
    from topcoat.specs import parse_app_handle

    scheduler, _, app_id = parse_app_handle(handle)
    return {"handle": handle, "scheduler": scheduler, "app_id": app_id}


def status_facts(handle: str, status: AppStatus, roles: Sequence[str] | None = None) -> dict[str, Any]:
    """Return a status as ``--json`` shows it, limited to *roles* if given.

    As in TorchX, a replica's ``state`` is a number; ``state_name`` is added for people and ``jq``.
    """
    from topcoat.specs import AppState

    facts = status.to_json(list(roles) if roles else None)
    for role in facts["roles"]:
        for replica in role["replicas"]:
            replica["state_name"] = AppState(replica["state"]).name
    return {**job_facts(handle), **facts, "ui_url": status.ui_url}


def local_handles() -> list[str]:
    """Return the handles of the jobs in the state directory, the newest first."""
    from topcoat.runner.api import SESSION
    from topcoat.schedulers.local import jobs as local_jobs
    from topcoat.specs import make_app_handle

    return [make_app_handle(job.job["scheduler"], SESSION, job.directory.name) for job in local_jobs.load_all()]
