"""Why a pod or a Job does not run, or has failed: the one text that matters among many conditions and events."""

from __future__ import annotations

import re
import signal
from enum import IntEnum
from typing import NamedTuple

from topcoat.foreign_text import escaped
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

_MAX_TEXT = 600
_STARTING = ("ContainerCreating", "PodInitializing", "")
_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_HOPELESS_REASONS = ("InvalidImageName", "ErrImageNeverPull")
# Of registries, containerd and CRI-O, for an image or a login that is missing.
_HOPELESS = re.compile(
    r"not found|notfound|manifest unknown|no match for platform|no such (image|manifest)|access denied|denied:"
    r"|unauthorized|authentication required|authorization failed|forbidden",
    re.IGNORECASE,
)
_GANG = re.compile(r"pod group is unschedulable|minCount")
_MOUNT_EVENTS = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume")
# The scheduler takes a pod, or says why not, within a fraction of a second.
_SCHEDULER_IS_SILENT_S = 10


class Rank(IntEnum):
    """How much a reason matters: the lowest is shown first."""

    FAILED = 0
    CANNOT_PULL = 1
    NOT_CREATED = 2
    NOT_STARTED = 3
    NOT_SCHEDULED = 4
    WAITS_FOR_GANG = 5
    WAITS_FOR_QUEUE = 6
    RETRIES = 7


class Reason(NamedTuple):
    """Why something does not run.

    Attributes:
        since: when that began, in seconds since 1970.
        is_hopeless: it does not end by itself.
    """

    rank: Rank
    text: str
    since: float = 0.0
    is_hopeless: bool = False


def needs_events(jobs: Manifests, pods: Manifests) -> list[str]:
    """Return the uids of the Jobs and pods of which only events can tell why they do not run."""
    unclear = [job for job in jobs if misses_pods(job)]
    unclear += [pod for pod in pods if _is_starting(pod) or _pull_trouble(pod) or _is_lost(pod)]
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
        return Reason(Rank.FAILED, _named(failed), seconds(text(failed, "lastTransitionTime")) or 0.0)
    if not misses_pods(job):
        return None
    newest = max(map(created, pods), default=0.0)
    for event in _events_of(job, events, "FailedCreate"):
        if _last_seen(event) >= newest:
            return Reason(
                Rank.NOT_CREATED, f"pods cannot be created: {_shown(text(event, 'message'))}", _first_seen(event)
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
        _failure(pod)
        or _pull_reason(pod, events)
        or _start_reason(pod)
        or _scheduling_reason(pod, pod_groups, peers, now)
        or _mount_reason(pod, events)
        or _lost_reason(pod, events)
    )


def exit_code(pod: Manifest) -> int | None:
    """Return the exit code of the role's container, ``None`` while it runs."""
    code = field(main_container(pod), "state", "terminated", "exitCode")
    return code if isinstance(code, int) else None


def _failure(pod: Manifest) -> Reason | None:
    disrupted = condition(pod, "DisruptionTarget")
    if disrupted and is_true(pod, "DisruptionTarget"):
        return Reason(
            Rank.FAILED, f"evicted: {_named(disrupted)}", seconds(text(disrupted, "lastTransitionTime")) or 0.0
        )
    if text(pod, "status", "reason") and text(pod, "status", "phase") == "Failed":
        return Reason(Rank.FAILED, _named(section(pod, "status")), created(pod))
    statuses = [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]
    first = text(pod, "spec", "containers", 0, "name")
    for status in statuses:
        ended = section(status, "state", "terminated")
        code = number(ended, "exitCode")
        is_out_of_memory = ended.get("reason") == "OOMKilled"
        if not ended or (code == 0 and not is_out_of_memory):
            continue
        where = "" if status.get("name") == first else f"container {escaped(text(status, 'name'))}: "
        cause = _cause(pod, status, ended, code)
        return Reason(Rank.FAILED, f"{where}{cause}", seconds(text(ended, "finishedAt")) or created(pod))
    return None


def _cause(pod: Manifest, status: Manifest, ended: Manifest, code: int) -> str:
    reason = text(ended, "reason")
    if reason == "OOMKilled":
        specs = [*items(pod, "spec", "initContainers"), *items(pod, "spec", "containers")]
        limits = [section(spec, "resources", "limits") for spec in specs if spec.get("name") == status.get("name")]
        limit = escaped(str(limits[0].get("memory") or "")) if limits else ""
        return "ran out of memory (OOMKilled" + f", limit {limit}" * bool(limit) + f"), exit code {code}"
    if reason in ("Error", "Completed", ""):
        if code > 128 and code - 128 in set(signal.Signals):
            return f"was killed by {signal.Signals(code - 128).name} (exit code {code})"
        return f"ended with exit code {code}"
    # StartError, ContainerCannotRun: the program does not exist, or a mount failed.
    return f"could not run: {_named(ended)}"


def _pull_trouble(pod: Manifest) -> Manifest | None:
    for status in [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]:
        waiting = section(status, "state", "waiting")
        if waiting.get("reason") in _PULLS:
            return waiting
    return None


def _pull_reason(pod: Manifest, events: Manifests) -> Reason | None:
    waiting = _pull_trouble(pod)
    if waiting is None:
        return None
    pulls = [event for event in _events_of(pod, events, "Failed") if "pull image" in text(event, "message")]
    message = text(waiting, "message")
    # The text of ImagePullBackOff has the cause on newer nodes only.
    if pulls and "ErrImagePull: " not in message and waiting.get("reason") == "ImagePullBackOff":
        message = text(pulls[-1], "message")
    message = message.rpartition("ErrImagePull: ")[2]
    secrets = _events_of(pod, events, "FailedToRetrieveImagePullSecret")
    if secrets:
        message += f" ({text(secrets[0], 'message')})"
    scheduled = section(condition(pod, "PodScheduled"))
    since = min(map(_first_seen, pulls), default=seconds(text(scheduled, "lastTransitionTime")) or created(pod))
    is_hopeless = waiting.get("reason") in _HOPELESS_REASONS or bool(_HOPELESS.search(message))
    reason = text(waiting, "reason").replace("ImagePullBackOff", "ErrImagePull")
    return Reason(Rank.CANNOT_PULL, f"the image cannot be pulled: {reason}: {_shown(message)}", since, is_hopeless)


def _start_reason(pod: Manifest) -> Reason | None:
    for status in [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]:
        waiting = section(status, "state", "waiting")
        if waiting and waiting.get("reason") not in (*_STARTING, *_PULLS, None):
            return Reason(Rank.NOT_STARTED, f"cannot start: {_named(waiting)}", created(pod))
    return None


def _scheduling_reason(pod: Manifest, pod_groups: Manifests, peers: Manifests, now: float) -> Reason | None:
    scheduled = condition(pod, "PodScheduled")
    since = seconds(text(scheduled, "lastTransitionTime")) or created(pod)
    if scheduled is not None:
        if scheduled.get("status") == "True":
            return None
        message = text(scheduled, "message")
        if _GANG.match(message):
            return Reason(Rank.WAITS_FOR_GANG, f"waits for its gang: {_shown(message)}", since)
        if scheduled.get("reason") == "SchedulingGated":
            return Reason(Rank.WAITS_FOR_QUEUE, f"waits to be admitted: {_shown(message)}", since)
        return Reason(Rank.NOT_SCHEDULED, f"cannot be scheduled: {_shown(message)}", since)
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
    for event in _events_of(pod, events, *_MOUNT_EVENTS):
        return Reason(Rank.NOT_STARTED, f"cannot start: {_named(event)}", _first_seen(event))
    return None


def _is_lost(pod: Manifest) -> bool:
    ready = section(condition(pod, "Ready"))
    is_running = bool(field(main_container(pod), "state", "running"))
    return text(pod, "status", "phase") == "Running" and is_running and ready.get("status") == "False"


def _lost_reason(pod: Manifest, events: Manifests) -> Reason | None:
    if not _is_lost(pod):
        return None
    for event in _events_of(pod, events, "NodeNotReady"):
        node = escaped(text(pod, "spec", "nodeName"))
        return Reason(Rank.NOT_STARTED, f"the node {node} does not respond: {_named(event)}", _first_seen(event))
    return None


def _events_of(manifest: Manifest, events: Manifests, *reasons: str) -> Manifests:
    """Return the events of an object with one of *reasons*, the newest first."""
    uid = field(manifest, "metadata", "uid")
    found = [
        event for event in events if field(event, "involvedObject", "uid") == uid and event.get("reason") in reasons
    ]
    return sorted(found, key=_last_seen, reverse=True)


def _first_seen(event: Manifest) -> float:
    return seconds(text(event, "firstTimestamp")) or seconds(text(event, "eventTime")) or created(event)


def _last_seen(event: Manifest) -> float:
    stamps = (text(event, "lastTimestamp"), text(event, "series", "lastObservedTime"), text(event, "eventTime"))
    return max((seconds(stamp) or 0.0 for stamp in stamps), default=0.0) or created(event)


def _named(manifest: Manifest) -> str:
    """Return reason and message of a condition, a state or an event."""
    reason, message = escaped(text(manifest, "reason")), _shown(text(manifest, "message"))
    return f"{reason}: {message}" if reason and message else reason or message


def _shown(message: str) -> str:
    return escaped(" ".join(message.split()), _MAX_TEXT)
