"""Find jobs in what Slurm knows of them now, and in its accounting."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TypeVar

from topcoat.errors import SchedulerError
from topcoat.notices import notice
from topcoat.schedulers.responses import DescribeAppResponse, ListAppResponse
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.files import is_facts_directory
from topcoat.schedulers.slurm.parse import QueueRow, Run
from topcoat.schedulers.slurm.snapshot import DEFAULT_ROOT, absolute
from topcoat.schedulers.slurm.states import appstate_from_slurm_state, combined_state
from topcoat.schedulers.slurm.status import (
    JobFacts,
    describe_ended,
    describe_forgotten,
    describe_queued,
    last_runs,
    run_state,
)
from topcoat.specs import is_terminal

_T = TypeVar("_T")
_EPOCH = datetime.fromtimestamp(0, timezone.utc)
_LIST_DAYS = 14
_ACCOUNTING_LAG_S = 5.0


def describe(app_id: str, client: SlurmClient, job_id: str) -> DescribeAppResponse | None:
    """Return the status of a job; ``None`` if Slurm does not know it.

    Raises:
        SchedulerError: neither Slurm nor the job's directory can say it.
    """
    deadline = time.monotonic() + _ACCOUNTING_LAG_S
    while True:
        rows, failure = try_queue(client, job_id)
        states = [appstate_from_slurm_state(row.state) for row in rows]
        if rows and not is_terminal(combined_state(states)):
            return describe_queued(app_id, rows, _facts(client, rows[0].directory))
        runs, accounting_failure = _try_accounting(client, job_id, rows)
        last = last_runs(runs)
        # The accounting learns of the working directory later than of the end.
        directory = rows[0].directory if rows else last[0].directory if last else ""
        has_ended = bool(last and directory) and is_terminal(combined_state(run_state(run) for run in last))
        if has_ended or (last and failure):
            return describe_ended(app_id, runs, _facts(client, directory), rows[0].reason if rows else "")
        if rows:
            # Without accounting, or before the end has reached it.
            state = next(row.state for row in rows if appstate_from_slurm_state(row.state) is combined_state(states))
            return describe_forgotten(app_id, state, _facts(client, rows[0].directory), rows[0].reason)
        if failure:
            raise failure
        if not last:
            return _describe_without_accounting(app_id, client, job_id, accounting_failure)
        if time.monotonic() > deadline:
            # Slurm's controller has lost the job.
            return describe_ended(app_id, runs, _facts(client, directory))
        # The accounting says PENDING or RUNNING for a moment after the end.
        time.sleep(0.3)


def _describe_without_accounting(
    app_id: str, client: SlurmClient, job_id: str, accounting_failure: SchedulerError | None
) -> DescribeAppResponse | None:
    """Return the status of a job that only its own directory remembers, if that is in the default place."""
    directory = client.find_directory(absolute(client.site, DEFAULT_ROOT), job_id)
    facts = client.facts(directory) if directory else JobFacts()
    if accounting_failure and (not facts.roles() or facts.exit_code is None):
        raise accounting_failure
    if not facts.roles():
        return None
    reason = "it was ended before it could record its exit code" if facts.exit_code is None else ""
    return describe_forgotten(app_id, "FAILED" if facts.exit_code != 0 else "COMPLETED", facts, reason)


def list_jobs(client: SlurmClient) -> list[ListAppResponse]:
    """Return this user's jobs that topcoat submitted, the newest first."""
    jobs: dict[str, Sequence[QueueRow | Run]] = {}
    runs, accounting_failure = _try(lambda: client.accounting_of_user(_LIST_DAYS))
    rows, failure = _try(client.queue_of_user)
    if failure and not runs:
        raise failure
    if accounting_failure:
        notice(f"jobs that ended more than some minutes ago are missing here: {accounting_failure}")
    for run in runs:
        jobs[run.job_id] = [*jobs.get(run.job_id, ()), run]
    for row in rows:
        # The controller is ahead of the accounting.
        jobs[row.job_id] = [*(other for other in jobs.get(row.job_id, ()) if isinstance(other, QueueRow)), row]
    # `delete` removes the directory of a job, not its record in the accounting.
    recorded = {run.directory for run in runs if is_facts_directory(run.directory)}
    deleted = recorded - client.existing(sorted(recorded))
    apps = []
    # The time of submission is in whole seconds; of two jobs in one second, the higher id is the newer one.
    for job_id, parts in sorted(jobs.items(), key=lambda job: int(job[0]), reverse=True):
        first = min(parts, key=lambda part: part.component)
        if is_facts_directory(first.directory) and first.directory not in deleted:
            state = combined_state(appstate_from_slurm_state(part.state) for part in parts)
            created = None if first.submitted is None else datetime.fromtimestamp(first.submitted).astimezone()
            apps.append(
                ListAppResponse(app_id_of(job_id, client.site.host), state, name=_common_name(parts), created=created)
            )
    return sorted(apps, key=lambda app: app.created or _EPOCH, reverse=True)


def _common_name(parts: Sequence[QueueRow | Run]) -> str:
    """Return the name of the application: its roles are called ``APPLICATION-ROLE``, or it has only one."""
    names = sorted({part.name for part in parts})
    application = posixpath.commonprefix(names).rpartition("-")[0] if len(names) > 1 else ""
    return application or names[0]


def job_directory(client: SlurmClient, job_id: str) -> str:
    """Return the working directory of a job; empty for an unknown one."""
    rows, _ = try_queue(client, job_id)
    if rows:
        return rows[0].directory
    runs, accounting_failure = _try_accounting(client, job_id, rows)
    directory = runs[-1].directory if runs else client.find_directory(absolute(client.site, DEFAULT_ROOT), job_id)
    if accounting_failure and not directory:
        raise accounting_failure
    return directory


def try_queue(client: SlurmClient, job_id: str) -> tuple[Sequence[QueueRow], SchedulerError | None]:
    """Return what the controller knows of a job, or why it cannot be asked."""
    return _try(lambda: client.queue(job_id))


def _try_accounting(
    client: SlurmClient, job_id: str, rows: Sequence[QueueRow]
) -> tuple[Sequence[Run], SchedulerError | None]:
    return _try(lambda: client.accounting(job_id, rows[0].directory if rows else ""))


def _try(query: Callable[[], Sequence[_T]]) -> tuple[Sequence[_T], SchedulerError | None]:
    try:
        return query(), None
    except SchedulerError as error:
        return [], error


def _facts(client: SlurmClient, directory: str) -> JobFacts:
    return client.facts(directory) if is_facts_directory(directory) else JobFacts()


def app_id_of(job_id: str, host: str) -> str:
    """Return the id of an application; *host* is the login node, empty for this machine."""
    return f"{job_id}@{host}" if host else job_id
