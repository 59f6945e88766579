"""Helpers of the commands that take handles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topcoat.runner import Runner
    from topcoat.schedulers.api import ReplicaTimes
    from topcoat.specs import AppStatus


def each_job(names: Iterable[str | None], action: Callable[[Runner, str], object], *, as_json: bool) -> int:
    """Call *action* for each job, in the order of *names* (``find_job``), and return the exit code.

    With *as_json*, print the handles of the jobs for which it returned no ``False``.

    Raises:
        UnknownApp: unknown job; the jobs before it are done.
    """
    from topcoat.cli.arguments import open_runner
    from topcoat.cli.follow import unknown_app
    from topcoat.cli.job_names import find_job
    from topcoat.cli.output import json_result

    handles = [find_job(name) for name in names]
    done: list[str] = []
    with open_runner() as runner:
        for handle in handles:
            if runner.status(handle) is None:
                raise unknown_app(handle)
            if action(runner, handle) is not False:
                done.append(handle)
    if as_json:
        json_result({"jobs": done})
    return 0


def job_facts(handle: str) -> dict[str, Any]:
    """Return the parts of a handle under the names of ``torchx --json``.

    Raises:
        InvalidHandle: invalid handle.
    """
    from topcoat.specs import parse_app_handle

    scheduler, _, app_id = parse_app_handle(handle)
    return {"handle": handle, "scheduler": scheduler, "app_id": app_id}


def status_facts(
    handle: str, status: AppStatus, roles: Sequence[str] | None = None, times: Iterable[ReplicaTimes] = ()
) -> dict[str, Any]:
    """Return a status as ``--json`` shows it, limited to *roles* if given, with the *times* of replicas.

    As in TorchX, a replica's ``state`` is a number; ``state_name`` is added for people and ``jq``. What is not
    set is null.
    """
    from topcoat.specs import NONE, AppState

    facts = status.to_json(list(roles) if roles else None)
    by_replica = {(time.role, time.replica): time for time in times}
    for role in facts["roles"]:
        for replica in role["replicas"]:
            replica["state_name"] = AppState(replica["state"]).name
            time = by_replica.get((role["role"], replica["id"]))
            replica["started"] = time.started.isoformat() if time and time.started else None
            replica["ended"] = time.ended.isoformat() if time and time.ended else None
            replica["duration_s"] = duration(time) if time else None
            replica["exit_code"] = time.exit_code if time else None
            replica["structured_error_msg"] = _none_if(replica["structured_error_msg"], NONE)
    for name in ("msg", "structured_error_msg"):
        facts[name] = _none_if(facts[name], NONE)
    return {**job_facts(handle), **facts, "ui_url": status.ui_url}


def _none_if(text: str, unset: str) -> str | None:
    return None if text == unset else text


def replica_times(runner: Runner, handle: str) -> Sequence[ReplicaTimes]:
    """Return when the replicas started and ended; empty if the scheduler does not know."""
    from topcoat.errors import UsageError

    try:
        return runner.replica_times(handle)
    except UsageError:
        return []


def duration(time: ReplicaTimes) -> float | None:
    """Return how long a replica ran, in seconds, until now if it still runs; ``None`` if it has not started."""
    from datetime import datetime, timezone

    if time.started is None:
        return None
    return ((time.ended or datetime.now(timezone.utc)) - time.started).total_seconds()
