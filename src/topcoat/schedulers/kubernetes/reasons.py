"""Why a pod or a Job does not run, or has failed: the one text that matters among many conditions and events."""

from __future__ import annotations

import re

from topcoat.foreign_text import escaped
from topcoat.schedulers.kubernetes.failures import PULLS, failure, pull_reason, pull_trouble
from topcoat.schedulers.kubernetes.fields import (
    Manifest,
    Manifests,
    condition,
    created,
    field,
    indexes,
    is_true,
    items,
    main_container,
    name_of,
    number,
    seconds,
    section,
    text,
)
from topcoat.schedulers.kubernetes.reason import Rank, Reason, events_of, first_seen, last_seen, named, shown

_STARTING = ("ContainerCreating", "PodInitializing", "")
_GANG = re.compile(r"pod group is unschedulable|minCount")
_MOUNT_EVENTS = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume")
# The scheduler takes a pod, or says why not, within a fraction of a second.
_SCHEDULER_IS_SILENT_S = 10


def needs_events(jobs: Manifests, pods: Manifests) -> list[str]:
    """Return the uids of the Jobs and pods of which only events can tell why they do not run."""
    unclear = [job for job in jobs if misses_pods(job)]
    unclear += [pod for pod in pods if _is_starting(pod) or pull_trouble(pod) or _is_lost(pod)]
    return [text(manifest, "metadata", "uid") for manifest in unclear]


def misses_pods(job: Manifest) -> bool:
    """Tell whether a Job that should run has fewer pods than it wants."""
    if field(job, "spec", "suspend") or is_true(job, "Complete") or is_true(job, "Failed"):
        return False
    wanted = min(number(job, "spec", "parallelism"), number(job, "spec", "completions"))
    ended = number(job, "status", "succeeded") + sum(map(len, indexes(job, "status", "failedIndexes")))
    return number(job, "status", "active") < min(wanted, number(job, "spec", "completions") - ended)


def reason_of_job(job: Manifest, pods: Manifests, events: Manifests) -> Reason | None:
    """Return why a Job has failed, or why it has too few pods; *pods* are those of the Job."""
    failed = condition(job, "Failed")
    if failed and is_true(job, "Failed"):
        return Reason(Rank.FAILED, named(failed), seconds(text(failed, "lastTransitionTime")) or 0.0)
    if not misses_pods(job):
        return None
    newest = max(map(created, pods), default=0.0)
    for event in events_of(job, events, "FailedCreate"):
        if last_seen(event) >= newest:
            return Reason(
                Rank.NOT_CREATED, f"pods cannot be created: {shown(text(event, 'message'))}", first_seen(event)
            )
    return None


def reason_of_pod(
    pod: Manifest, events: Manifests, pod_groups: Manifests, peers: Manifests, now: float
) -> Reason | None:
    """Return why a pod has failed or does not run; ``None`` if it runs, has succeeded, or starts.

    Args:
        pod: the pod.
        events: of the pod, among others.
        pod_groups: of the application.
        peers: all pods of the application.
        now: the server's time, in seconds since 1970.
    """
    return (
        failure(pod)
        or pull_reason(pod, events)
        or _start_reason(pod)
        or _scheduling_reason(pod, pod_groups, peers, now)
        or _mount_reason(pod, events)
        or _lost_reason(pod, events)
    )


def _start_reason(pod: Manifest) -> Reason | None:
    for status in [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]:
        waiting = section(status, "state", "waiting")
        if waiting and waiting.get("reason") not in (*_STARTING, *PULLS, None):
            return Reason(Rank.NOT_STARTED, f"cannot start: {named(waiting)}", created(pod))
    return None


def _scheduling_reason(pod: Manifest, pod_groups: Manifests, peers: Manifests, now: float) -> Reason | None:
    scheduled = condition(pod, "PodScheduled")
    since = seconds(text(scheduled, "lastTransitionTime")) or created(pod)
    if scheduled is not None:
        if scheduled.get("status") == "True":
            return None
        message = text(scheduled, "message")
        if _GANG.match(message):
            return Reason(Rank.WAITS_FOR_GANG, f"waits for its gang: {shown(message)}", since)
        if scheduled.get("reason") == "SchedulingGated":
            return Reason(Rank.WAITS_FOR_QUEUE, f"waits to be admitted: {shown(message)}", since)
        return Reason(Rank.NOT_SCHEDULED, f"cannot be scheduled: {shown(message)}", since)
    if text(pod, "status", "phase") != "Pending":
        return None
    gang = text(pod, "spec", "schedulingGroup", "podGroupName")
    if gang:
        return _silent_gang(gang, pod_groups, peers, since, now)
    if now - created(pod) > _SCHEDULER_IS_SILENT_S:
        scheduler = text(pod, "spec", "schedulerName") or "default-scheduler"
        return Reason(Rank.NOT_SCHEDULED, f"the scheduler {escaped(scheduler)} does not take the pod", since)
    return None


def _silent_gang(gang: str, pod_groups: Manifests, peers: Manifests, since: float, now: float) -> Reason | None:
    """Return what a pod waits for that the scheduler keeps back without a condition or an event."""
    group = next((group for group in pod_groups if name_of(group) == gang), None)
    if group is None:
        return Reason(Rank.WAITS_FOR_GANG, f"waits for its gang: there is no PodGroup {escaped(gang)}", since)
    count = sum(text(peer, "spec", "schedulingGroup", "podGroupName") == gang for peer in peers)
    wanted = number(group, "spec", "schedulingPolicy", "gang", "minCount")
    if count < wanted:
        return Reason(Rank.WAITS_FOR_GANG, f"waits for its gang: {count} of {wanted} pods exist", since)
    if now - since > _SCHEDULER_IS_SILENT_S and condition(group, "PodGroupInitiallyScheduled") is None:
        return Reason(
            Rank.WAITS_FOR_GANG,
            "waits for its gang: the scheduler does not handle PodGroups (its feature gate GenericWorkload); "
            "submit with -cfg gang=none",
            since,
        )
    return None


def _is_starting(pod: Manifest) -> bool:
    """Tell whether a pod is on a node and its container has not begun."""
    if text(pod, "status", "phase") != "Pending" or not is_true(pod, "PodScheduled"):
        return False
    return text(main_container(pod), "state", "waiting", "reason") in _STARTING


def _mount_reason(pod: Manifest, events: Manifests) -> Reason | None:
    if not _is_starting(pod):
        return None
    for event in events_of(pod, events, *_MOUNT_EVENTS):
        return Reason(Rank.NOT_STARTED, f"cannot start: {named(event)}", first_seen(event))
    return None


def _is_lost(pod: Manifest) -> bool:
    ready = section(condition(pod, "Ready"))
    is_running = bool(field(main_container(pod), "state", "running"))
    return text(pod, "status", "phase") == "Running" and is_running and ready.get("status") == "False"


def _lost_reason(pod: Manifest, events: Manifests) -> Reason | None:
    if not _is_lost(pod):
        return None
    for event in events_of(pod, events, "NodeNotReady"):
        node = escaped(text(pod, "spec", "nodeName"))
        return Reason(Rank.NOT_STARTED, f"the node {node} does not respond: {named(event)}", first_seen(event))
    return None
