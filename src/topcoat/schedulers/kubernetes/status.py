"""The state of an application, its roles and its replicas, from what the cluster has of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from topcoat.foreign_text import escaped
from topcoat.schedulers.kubernetes.fields import (
    Manifest,
    condition,
    created,
    field,
    is_true,
    main_container,
    number,
    replica_of,
    role_of,
    section,
    text,
)
from topcoat.schedulers.kubernetes.labels import LABEL_QUEUE
from topcoat.schedulers.kubernetes.observe import AppObjects
from topcoat.schedulers.kubernetes.reason import Rank, Reason
from topcoat.schedulers.kubernetes.reasons import reason_of_job
from topcoat.schedulers.kubernetes.replica_states import Replica, is_cancelled, replicas_of
from topcoat.specs import NONE, AppState, ReplicaStatus, RoleStatus, is_started

ANNOTATION_PULL_PATIENCE = "dev.topcoat.pull-patience"
"""On every top object: after how many seconds an image that cannot be pulled is a failure."""
PULL_PATIENCE_S = 60
# A registry that does not respond may come back; an image that does not exist will not.
_HOPE_FACTOR = 10
_MAX_REASONS = 3


class AppSummary(NamedTuple):
    """What ``describe`` says of an application."""

    state: AppState
    msg: str
    num_restarts: int
    structured_error_msg: str
    roles_statuses: list[RoleStatus]


def summarize(objects: AppObjects, role_order: Sequence[str] = ()) -> AppSummary:
    """Return the state of an application and the reason for it.

    *role_order* has the names of the roles in their order; others follow by name.
    """
    replicas = replicas_of(objects, role_order)
    reasons = _reasons(objects, replicas)
    state = _state(objects, replicas)
    if state is AppState.SUCCEEDED:
        reasons = []
    elif state is AppState.CANCELLED:
        reasons = [(where, reason) for where, reason in reasons if reason.rank is Rank.FAILED and where.count("/")]
    elif state is AppState.FAILED:
        reasons = [item for item in reasons if item[1].rank <= Rank.CANNOT_PULL] or reasons
    errors = [_error_file(replica.pod) for replica in replicas if replica.pod is not None]
    return AppSummary(
        state,
        _message(reasons),
        _restarts(objects),
        next(filter(None, errors), NONE),
        _roles_statuses(replicas),
    )


def _state(objects: AppObjects, replicas: list[Replica]) -> AppState:
    owners = objects.owners
    if any(_has_failed(owner) for owner in owners):
        return AppState.FAILED
    if all(_has_succeeded(owner) for owner in owners):
        return AppState.SUCCEEDED
    if is_cancelled(objects):
        return AppState.CANCELLED
    if any(_pull_has_failed(replica, objects) for replica in replicas):
        return AppState.FAILED
    if any(is_started(replica.state) for replica in replicas):
        return AppState.RUNNING
    return AppState.PENDING


def _has_failed(owner: Manifest) -> bool:
    return is_true(owner, "Failed") or text(owner, "status", "state", "phase") in ("Failed", "Aborted")


def _has_succeeded(owner: Manifest) -> bool:
    return (
        is_true(owner, "Complete")
        or is_true(owner, "Completed")  # a JobSet's
        or text(owner, "status", "state", "phase") == "Completed"
    )


def _pull_has_failed(replica: Replica, objects: AppObjects) -> bool:
    reason = replica.reason
    if reason is None or reason.rank is not Rank.CANNOT_PULL:
        return False
    text_of_patience = text(objects.owners[0], "metadata", "annotations", ANNOTATION_PULL_PATIENCE)
    patience = int(text_of_patience) if text_of_patience.isdecimal() else PULL_PATIENCE_S
    return objects.now - reason.since >= patience * (1 if reason.is_hopeless else _HOPE_FACTOR)


def _reasons(objects: AppObjects, replicas: list[Replica]) -> list[tuple[str, Reason]]:
    """Return the reasons with the replica or role that each is about, the one that matters most first."""
    found: list[tuple[str, Reason]] = []
    gang_is_explained = any(item.reason and item.reason.rank is Rank.NOT_SCHEDULED for item in replicas)
    for replica in replicas:
        if replica.reason is None or (gang_is_explained and replica.reason.rank is Rank.WAITS_FOR_GANG):
            continue
        found.append((f"{replica.role}/{replica.number}", replica.reason))
    for job in objects.jobs:
        role = role_of(job)
        pods = [pod for pod in objects.pods if role_of(pod) == role]
        reason = reason_of_job(job, pods, objects.events)
        # A Job says that it has failed; its pods say why, if they still exist.
        has_failed_pod = any(where.startswith(f"{role}/") and item.rank is Rank.FAILED for where, item in found)
        if reason and not (reason.rank is Rank.FAILED and has_failed_pod and "DeadlineExceeded" not in reason.text):
            found.append((role, reason))
    found += [("", reason) for reason in map(_owner_reason, objects.owners) if reason]
    if not is_cancelled(objects):
        found += _queue_reasons(objects)
    return sorted(found, key=lambda item: (item[1].rank, item[1].since))


def _owner_reason(owner: Manifest) -> Reason | None:
    """Return why a JobSet or a Volcano Job has failed."""
    failed = condition(owner, "Failed")
    if owner.get("kind") == "JobSet" and failed and failed.get("status") == "True":
        message = escaped(f"{text(failed, 'reason')}: {text(failed, 'message')}")
        # After the reasons of its pods.
        return Reason(Rank.FAILED, message, float("inf"))
    state = section(owner, "status", "state")
    if state.get("phase") in ("Failed", "Aborted") and text(state, "message"):
        return Reason(Rank.FAILED, escaped(text(state, "message")), float("inf"))
    return None


def _queue_reasons(objects: AppObjects) -> list[tuple[str, Reason]]:
    """Return why Kueue keeps the application back."""
    found = []
    for owner in objects.owners:
        queue = text(owner, "metadata", "labels", LABEL_QUEUE)
        if not queue or not field(owner, "spec", "suspend"):
            continue
        uid = text(owner, "metadata", "uid")
        workload = next(
            (item for item in objects.workloads if field(item, "metadata", "ownerReferences", 0, "uid") == uid), None
        )
        quota = section(condition(workload or {}, "QuotaReserved"))
        message = text(quota, "message") if quota.get("status") == "False" else ""
        shown = f"waits in the queue {escaped(queue)}" + f": {escaped(message, 600)}" * bool(message)
        where = role_of(owner) if len(objects.owners) > 1 else ""
        found.append((where, Reason(Rank.WAITS_FOR_QUEUE, shown, created(owner))))
    return found


def _message(reasons: list[tuple[str, Reason]]) -> str:
    """Return the reasons of the first rank; replicas with the same one share a line."""
    if not reasons:
        return ""
    first = reasons[0][1].rank
    places: dict[str, list[str]] = {}
    for where, reason in reasons:
        if reason.rank is first:
            places.setdefault(reason.text, []).append(where)
    lines = []
    for shown, same in places.items():
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        lines.append(f"{escaped(same[0])}{more}: {shown}" if same[0] else shown)
    return "; ".join(lines[:_MAX_REASONS])


def _restarts(objects: AppObjects) -> int:
    """Count the runs that failed and were started again."""
    restarts = sum(number(owner, "status", "restarts") for owner in objects.job_sets)
    restarts += sum(number(owner, "status", "retryCount") for owner in objects.volcano_jobs)
    if objects.job_sets:
        return restarts
    attempts: dict[tuple[str, int], int] = {}
    for pod in objects.pods:
        key = (role_of(pod), replica_of(pod))
        attempts[key] = attempts.get(key, 0) + 1
    return restarts + sum(count - 1 for count in attempts.values())


def _roles_statuses(replicas: list[Replica]) -> list[RoleStatus]:
    roles: dict[str, RoleStatus] = {}
    for replica in replicas:
        pod = replica.pod or {}
        host = text(pod, "spec", "nodeName")
        names = [text(pod, "spec", "hostname"), text(pod, "spec", "subdomain")]
        address = ".".join(names) if all(names) else text(pod, "status", "podIP") or host
        roles.setdefault(replica.role, RoleStatus(replica.role, [])).replicas.append(
            ReplicaStatus(replica.number, replica.state, replica.role, host, _error_file(replica.pod) or NONE, address)
        )
    return list(roles.values())


def _error_file(pod: Manifest | None) -> str:
    """Return the error file that the job wrote: the container's termination message, if it is JSON."""
    message = text(main_container(pod or {}), "state", "terminated", "message")
    try:
        return message if message.startswith("{") and isinstance(json.loads(message), dict) else ""
    except (ValueError, RecursionError):
        return ""
