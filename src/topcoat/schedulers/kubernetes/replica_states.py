"""The replicas of an application, each with its newest pod, its state and the reason for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from topcoat.schedulers.kubernetes.failures import exit_code
from topcoat.schedulers.kubernetes.fields import (
    Manifest,
    created,
    field,
    indexes,
    is_true,
    items,
    main_container,
    number,
    replica_of,
    role_of,
    section,
    text,
    time_of,
)
from topcoat.schedulers.kubernetes.labels import ANNOTATION_CANCELLED, LABEL_QUEUE
from topcoat.schedulers.kubernetes.observe import AppObjects
from topcoat.schedulers.kubernetes.reason import Reason
from topcoat.schedulers.kubernetes.reasons import reason_of_pod
from topcoat.schedulers.responses import ReplicaTimes
from topcoat.specs import AppState


class Replica(NamedTuple):
    """One replica and its newest pod."""

    role: str
    number: int
    state: AppState
    pod: Manifest | None
    reason: Reason | None


def replicas_of(objects: AppObjects, role_order: Sequence[str] = ()) -> list[Replica]:
    """Return every replica, in the order of the roles."""
    pods: dict[tuple[str, int], Manifest] = {}
    for pod in sorted(objects.pods, key=lambda pod: (created(pod), not _is_going(pod))):
        pods[role_of(pod), replica_of(pod)] = pod
    jobs = {role_of(job): job for job in objects.jobs}
    replicas = []
    for role, count in _roles(objects, role_order).items():
        for index in range(count):
            found = pods.get((role, index))
            reason = found and reason_of_pod(found, objects.events, objects.pod_groups, objects.pods, objects.now)
            state = _replica_state(found, index, jobs.get(role), objects)
            replicas.append(Replica(role, index, state, found, reason or None))
    return replicas


def replica_times(objects: AppObjects, role_order: Sequence[str] = ()) -> list[ReplicaTimes]:
    """Return when each replica started and ended, and its exit code."""
    times = []
    for replica in replicas_of(objects, role_order):
        state = section(main_container(replica.pod or {}), "state")
        running, ended = section(state, "running"), section(state, "terminated")
        times.append(
            ReplicaTimes(
                replica.role,
                replica.number,
                time_of(text(ended or running, "startedAt")),
                time_of(text(ended, "finishedAt")),
                None if replica.pod is None else exit_code(replica.pod),
            )
        )
    return times


def _roles(objects: AppObjects, role_order: Sequence[str]) -> dict[str, int]:
    """Return the number of replicas of each role."""
    counts: dict[str, int] = {}
    templates: Iterable[tuple[Manifest, int]]
    if objects.job_sets:
        replicated = [item for owner in objects.job_sets for item in items(owner, "spec", "replicatedJobs")]
        templates = [
            (section(item, "template"), number(item, "template", "spec", "completions")) for item in replicated
        ]
    elif objects.volcano_jobs:
        tasks = [task for owner in objects.volcano_jobs for task in items(owner, "spec", "tasks")]
        templates = [(section(task, "template"), number(task, "replicas")) for task in tasks]
    else:
        templates = [(job, number(job, "spec", "completions")) for job in objects.jobs]
    for template, count in templates:
        counts[role_of(template)] = counts.get(role_of(template), 0) + count
    position = {role: index for index, role in enumerate(role_order)}
    return {role: counts[role] for role in sorted(counts, key=lambda role: (position.get(role, len(position)), role))}


def _is_going(pod: Manifest) -> bool:
    return bool(field(pod, "metadata", "deletionTimestamp"))


def _replica_state(pod: Manifest | None, index: int, job: Manifest | None, objects: AppObjects) -> AppState:
    """Return the state of a replica; its pod may not exist yet, or no longer."""
    if pod is not None:
        code = exit_code(pod)
        phase = text(pod, "status", "phase")
        # The container ends a second before the phase of its pod changes.
        if phase == "Failed" or code:
            return AppState.FAILED
        if phase == "Succeeded" or code == 0:
            return AppState.SUCCEEDED
        if phase == "Running":
            return AppState.RUNNING
        if not _has_ended(job):
            return AppState.PENDING
    if job is not None:
        if is_true(job, "Complete") or any(index in part for part in indexes(job, "status", "completedIndexes")):
            return AppState.SUCCEEDED
        if is_true(job, "Failed") or any(index in part for part in indexes(job, "status", "failedIndexes")):
            return AppState.FAILED
    if is_cancelled(objects):
        return AppState.CANCELLED
    return AppState.PENDING


def _has_ended(job: Manifest | None) -> bool:
    return job is not None and (is_true(job, "Complete") or is_true(job, "Failed"))


def is_cancelled(objects: AppObjects) -> bool:
    """Tell whether somebody has stopped the application: topcoat, or a suspend that is not Kueue's."""
    for owner in objects.owners:
        if text(owner, "metadata", "annotations", ANNOTATION_CANCELLED):
            return True
        if field(owner, "spec", "suspend") and not text(owner, "metadata", "labels", LABEL_QUEUE):
            return True
    return any(field(workload, "spec", "active") is False for workload in objects.workloads)
