"""Read what AWS Batch reports of jobs: states, reasons, nodes, times."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from topcoat.foreign_text import escaped
from topcoat.schedulers.aws_batch.container import LOG_GROUP, LOG_GROUP_OPTION, role_name, role_of
from topcoat.schedulers.aws_batch.request import containers, max_retries_of
from topcoat.schedulers.responses import ReplicaTimes
from topcoat.specs import AppState, ReplicaStatus, Role, RoleStatus, is_terminal

JOB_STATE: dict[str, AppState] = {
    "SUBMITTED": AppState.PENDING,
    "PENDING": AppState.PENDING,
    "RUNNABLE": AppState.PENDING,
    "STARTING": AppState.PENDING,
    "RUNNING": AppState.RUNNING,
    "SUCCEEDED": AppState.SUCCEEDED,
    "FAILED": AppState.FAILED,
}
"""The states of AWS Batch (TorchX's name)."""
CANCELLED = "cancelled by topcoat"
"""The reason that ``cancel`` gives to AWS."""
WAITING = ("SUBMITTED", "PENDING", "RUNNABLE")
UNFINISHED = (*WAITING, "STARTING", "RUNNING")
_MAX_NODES = 10_000

Job = Mapping[str, Any]


class Node(NamedTuple):
    """One node of a job: a replica.

    Attributes:
        role: name of its role.
        replica: its number in the role.
        number: its number in the job.
    """

    role: str
    replica: int
    number: int


def to_millis_since_epoch(ts: datetime) -> int:
    """Return a time as AWS writes it (TorchX's name)."""
    return round(ts.timestamp() * 1000)


def to_datetime(ms_since_epoch: int) -> datetime:
    """Return a time of AWS as local time without a zone (TorchX's name)."""
    return datetime.fromtimestamp(ms_since_epoch / 1000)


def job_state(job: Job) -> AppState:
    """Return the state of a job or node; one that was ended on request is cancelled, not failed."""
    state = JOB_STATE.get(str(job.get("status")), AppState.UNKNOWN)
    was_ended = job.get("isCancelled") or job.get("isTerminated") or job.get("statusReason") == CANCELLED
    return AppState.CANCELLED if state is AppState.FAILED and was_ended else state


def is_multi_node(job: Job) -> bool:
    """Tell whether a job has node groups."""
    return bool(job.get("nodeProperties"))


def nodes_of(job: Job) -> Iterator[Node]:
    """Yield the nodes of a job, in order."""
    if not is_multi_node(job):
        yield Node(role_name(job.get("container") or {}), 0, 0)
        return
    properties = job["nodeProperties"]
    count = min(int(properties.get("numNodes") or 0), _MAX_NODES)
    for group in properties.get("nodeRangeProperties") or []:
        first, last = target_nodes(str(group.get("targetNodes") or ""), count)
        for number in range(first, min(last, count - 1) + 1):
            yield Node(role_name(group.get("container") or {}), number - first, number)


def target_nodes(text: str, num_nodes: int) -> tuple[int, int]:
    """Return the first and the last node of a range (``0:3``, ``:3``, ``2:``, ``2``)."""
    first, colon, last = text.partition(":")
    start = int(first) if first.isdecimal() else 0
    return start, int(last) if last.isdecimal() else num_nodes - 1 if colon else start


def roles_of(job: Job) -> list[Role]:
    """Return the roles of a job."""
    counts: dict[str, int] = {}
    for node in nodes_of(job):
        counts[node.role] = counts.get(node.role, 0) + 1
    retries = max_retries_of(job.get("retryStrategy") or {})
    return [role_of(container, counts.get(role_name(container), 0), retries) for container in containers(job)]


def role_statuses(job: Job, details: Mapping[int, Job]) -> list[RoleStatus]:
    """Return the status of each role of a job; *details* are those of its nodes, by their numbers.

    A node that AWS has not made yet has the state of its job.
    """
    statuses: dict[str, RoleStatus] = {}
    for node in nodes_of(job):
        detail = details.get(node.number)
        replica = ReplicaStatus(node.replica, job_state(detail or job), node.role, _host(detail or {}))
        statuses.setdefault(node.role, RoleStatus(node.role, [])).replicas.append(replica)
    return list(statuses.values())


def _host(job: Job) -> str:
    for container in reversed(_runs(job)):
        for interface in container.get("networkInterfaces") or []:
            if interface.get("privateIpv4Address"):
                return str(interface["privateIpv4Address"])
    return ""


def why(job: Job, details: Mapping[int, Job]) -> str:
    """Return in words why a job waits or ended as it did, empty if AWS reports no reason."""
    failed = [
        (int(detail.get("stoppedAt") or 0), node.number, f"{node.role}/{node.replica} {reason}")
        for node in nodes_of(job)
        if (detail := details.get(node.number)) and job_state(detail) is AppState.FAILED and (reason := _why(detail))
    ]
    # The node that failed first is the cause; AWS ends the others.
    return min(failed)[2] if failed else _why(job)


def _why(job: Job) -> str:
    container = job.get("container") or {}
    runs = _runs(job)
    code = container.get("exitCode")
    if code is None and is_terminal(job_state(job)):
        code = next((run["exitCode"] for run in reversed(runs) if run.get("exitCode") is not None), None)
    reasons = [container.get("reason"), *(run.get("reason") for run in reversed(runs)), job.get("statusReason")]
    texts = dict.fromkeys(escaped(str(reason)) for reason in reasons if reason)
    if code not in (None, 0):
        return ": ".join([f"ended with exit code {code}", *texts])
    return ": ".join(texts) if job_state(job) is not AppState.SUCCEEDED else ""


def _runs(job: Job) -> list[Mapping[str, Any]]:
    """Return the containers of all runs of a job or node, the last one last."""
    attempts = [attempt.get("container") or {} for attempt in job.get("attempts") or []]
    return [*attempts, job.get("container") or {}]


def log_streams(job: Job) -> list[str]:
    """Return the log streams of all runs of a job or node, in order."""
    return list(dict.fromkeys(str(run["logStreamName"]) for run in _runs(job) if run.get("logStreamName")))


def log_group(job: Job) -> str:
    """Return the log group of a job or node."""
    options = ((job.get("container") or {}).get("logConfiguration") or {}).get("options") or {}
    return str(options.get(LOG_GROUP_OPTION) or LOG_GROUP)


def times_of(node: Node, job: Job) -> ReplicaTimes:
    """Return when the last run of a node started and ended, as its *job*, or its own detail, has it."""
    code = next((run["exitCode"] for run in reversed(_runs(job)) if run.get("exitCode") is not None), None)
    has_ended = is_terminal(job_state(job))
    ended = _time(job.get("stoppedAt")) if has_ended else None
    return ReplicaTimes(node.role, node.replica, _time(job.get("startedAt")), ended, code if has_ended else None)


def _time(milliseconds: object) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc) if isinstance(milliseconds, int) else None


def ui_url(job: Job) -> str | None:
    """Return the page of a job in the console of AWS."""
    match = re.fullmatch(r"arn:(aws[\w-]*):batch:([a-z0-9-]+):\d+:job/([\w-]+)", str(job.get("jobArn") or ""))
    if match is None:
        return None
    partition, region, job_id = match.groups()
    domains = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
    page = "mnp-job" if is_multi_node(job) else "detail"
    domain = domains.get(partition, "console.aws.amazon.com")
    return f"https://{region}.{domain}/batch/home?region={region}#jobs/{page}/{job_id}"


def num_restarts(job: Job) -> int:
    """Return how often a job was run again."""
    attempts: Sequence[object] = job.get("attempts") or []
    return max(len(attempts) - 1, 0)
