"""The status of a job, from what Slurm's commands and the replicas' records say. No side effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from topcoat.foreign_text import escaped
from topcoat.schedulers.local.app_json import role_from_dict
from topcoat.schedulers.responses import DescribeAppResponse
from topcoat.schedulers.slurm.parse import QueueRow, Record, Run
from topcoat.schedulers.slurm.states import (
    appstate_from_slurm_state,
    combined_state,
    ending_in_words,
    exit_in_words,
    reason_in_words,
)
from topcoat.specs import NONE, AppState, ReplicaStatus, Role, RoleStatus, is_terminal

LAUNCH_FAILURE_SIGNAL = 53
"""Slurm's exit status of a job whose output files cannot be opened."""


@dataclass(frozen=True)
class JobFacts:
    """Hold what the job directory says.

    Attributes:
        app: the content of ``job.json``; empty if there is none.
        restarts: how often the job had been restarted when its last run began; ``None`` before the first one.
        exit_code: of the batch script, if it has ended.
        records: the replicas' records, by name.
        failure: why the batch script ran nothing; empty if it ran.
        errors: the error files of the replicas, by name.
    """

    app: Mapping[str, Any] = field(default_factory=dict)
    restarts: int | None = None
    exit_code: int | None = None
    records: Mapping[str, Record] = field(default_factory=dict)
    failure: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)

    def roles(self) -> list[Role]:
        """Return the roles; none if ``job.json`` is missing or from another version."""
        try:
            return [role_from_dict(role) for role in self.app.get("roles", [])]
        except (KeyError, TypeError, ValueError):
            return []


def last_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the last run of each component, in the order of the components."""
    last = {run.component: run for run in runs}
    return [last[component] for component in sorted(last)]


def run_state(run: Run) -> AppState:
    """Return the state of a run; sacct may say PENDING for seconds after the start, and its steps are right."""
    state = appstate_from_slurm_state(run.state)
    if state is AppState.PENDING and run.steps:
        return combined_state(appstate_from_slurm_state(step.state) for step in run.steps)
    return state


def describe_queued(app_id: str, rows: Sequence[QueueRow], facts: JobFacts) -> DescribeAppResponse:
    """Return the status of a job that waits or runs."""
    state = combined_state(appstate_from_slurm_state(row.state) for row in rows)
    # One that is suspended has begun, and goes on later.
    waits = state is AppState.PENDING and not any(row.state in ("SUSPENDED", "STOPPED") for row in rows)
    restarts = 0 if facts.restarts is None else facts.restarts + waits
    reasons = [reason_in_words(row.reason, row.state) for row in rows] if state is AppState.PENDING else []
    message = next((reason for reason in reasons if reason), "")
    records = {} if waits else facts.records
    return _response(
        app_id, state, facts, records, msg=message, restarts=restarts, name=rows[0].name, nodes=rows[0].nodes
    )


def describe_ended(app_id: str, runs: Sequence[Run], facts: JobFacts, reason: str = "") -> DescribeAppResponse:
    """Return the status of a job that Slurm's accounting knows.

    Args:
        app_id: the job's id.
        runs: all its runs.
        facts: what its directory says.
        reason: Slurm's reason, if its controller still has the job in memory.
    """
    last = last_runs(runs)
    state = combined_state(run_state(run) for run in last)
    message = why_ended(last, facts, reason) if is_terminal(state) else ""
    restarts = sum(run.component == last[0].component for run in runs) - 1
    return _response(
        app_id,
        state,
        facts,
        facts.records,
        msg=message,
        restarts=max(restarts, facts.restarts or 0),
        name=last[0].name,
        nodes=last[0].nodes,
    )


def describe_forgotten(app_id: str, state: str, facts: JobFacts, reason: str = "") -> DescribeAppResponse:
    """Return the status of a job that has ended, without Slurm's accounting: of its *state* and its own records."""
    final = appstate_from_slurm_state(state)
    message = ending_in_words(state) or facts.failure or _why_replica_failed(facts) or reason_in_words(reason)
    message = "" if final is AppState.SUCCEEDED else message
    return _response(app_id, final, facts, facts.records, msg=message, restarts=facts.restarts or 0)


def why_ended(runs: Sequence[Run], facts: JobFacts, reason: str = "") -> str:
    """Return in words why a job ended without success; for one that succeeded, whether a step of it failed.

    Of topcoat's own jobs, a step that failed without effect is a command that was run beside a replica.
    """
    state = next((run.state for run in runs if run_state(run) is not AppState.SUCCEEDED), "COMPLETED")
    if state == "COMPLETED" and facts.app:
        return ""
    if state.startswith("CANCELLED"):
        _, _, uid = state.partition(" by ")
        return f"cancelled by user {uid}" if uid else "cancelled"
    steps = [step for run in runs for step in run.steps]
    if ending := ending_in_words(state):
        return ending
    if any(step.state.startswith("OUT_OF_MEMORY") for step in steps) or any(run.derived_signal == 125 for run in runs):
        return ending_in_words("OUT_OF_MEMORY")
    if facts.failure:
        return facts.failure
    if own := _why_replica_failed(facts):
        return own
    for run in runs:
        if run.signal == LAUNCH_FAILURE_SIGNAL:
            return reason_in_words("JobLaunchFailure")
    # The component that failed first has an exit code, the others were ended because of it.
    for run in sorted(runs, key=lambda run: run.derived_signal > 0):
        if run.derived_exit_code or run.derived_signal:
            return f"a step {exit_in_words(run.derived_exit_code, run.derived_signal)}"
        if run.exit_code or run.signal:
            return f"it {exit_in_words(run.exit_code, run.signal)}"
    return reason_in_words(reason) if state != "COMPLETED" else ""


def _why_replica_failed(facts: JobFacts) -> str:
    failed = [record for record in facts.records.values() if record.exit_code]
    if not failed:
        return ""
    # The others may have been ended because of the first one.
    first = min(failed, key=lambda record: (record.exit_code in (137, 143), record.ended or 0, record.name))
    role, _, number = first.name.rpartition("-")
    assert first.exit_code is not None
    return f"{role}/{number} {exit_in_words(first.exit_code)} on {escaped(first.node)}"


def _response(
    app_id: str,
    state: AppState,
    facts: JobFacts,
    records: Mapping[str, Record],
    *,
    msg: str,
    restarts: int,
    name: str = "",
    nodes: str = "",
) -> DescribeAppResponse:
    roles = facts.roles()
    if not roles:
        # A job that was not submitted by topcoat.
        roles = [Role(name=name or app_id, image="")]
        records = {f"{roles[0].name}-0": Record(f"{roles[0].name}-0", nodes, None, None, None)}
    statuses = [
        RoleStatus(
            role.name,
            [
                _replica(role.name, number, state, records.get(f"{role.name}-{number}"), facts.errors)
                for number in range(role.num_replicas)
            ],
        )
        for role in roles
    ]
    return DescribeAppResponse(
        app_id=app_id,
        state=state,
        num_restarts=restarts,
        msg=msg,
        structured_error_msg=next(iter(facts.errors.values()), NONE),
        roles_statuses=statuses,
        roles=roles,
        metadata={str(key): str(value) for key, value in (facts.app.get("metadata") or {}).items()},
    )


def _replica(
    role: str, number: int, app_state: AppState, record: Record | None, errors: Mapping[str, str]
) -> ReplicaStatus:
    state = app_state
    if record is not None and record.exit_code is not None and app_state is not AppState.CANCELLED:
        state = AppState.FAILED if record.exit_code else AppState.SUCCEEDED
    elif record is None and app_state is AppState.RUNNING:
        state = AppState.PENDING
    return ReplicaStatus(number, state, role, record.node if record else "", errors.get(f"{role}-{number}", NONE))
