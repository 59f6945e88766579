"""Why a pod has failed, or its image cannot be pulled."""

from __future__ import annotations

import re
import signal

from topcoat.foreign_text import escaped
from topcoat.schedulers.kubernetes.fields import (
    Manifest,
    Manifests,
    condition,
    created,
    field,
    is_true,
    items,
    main_container,
    number,
    seconds,
    section,
    text,
)
from topcoat.schedulers.kubernetes.labels import WAITING_SHELL
from topcoat.schedulers.kubernetes.reason import Rank, Reason, events_of, first_seen, named, shown

PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_HOPELESS_REASONS = ("InvalidImageName", "ErrImageNeverPull")
# Of registries, containerd and CRI-O, for an image or a login that is missing.
_HOPELESS = re.compile(
    r"not found|notfound|manifest unknown|no match for platform|no such (image|manifest)|access denied|denied:"
    r"|unauthorized|authentication required|authorization failed|forbidden",
    re.IGNORECASE,
)


def exit_code(pod: Manifest) -> int | None:
    """Return the exit code of the role's container, ``None`` while it runs."""
    code = field(main_container(pod), "state", "terminated", "exitCode")
    return code if isinstance(code, int) else None


def failure(pod: Manifest) -> Reason | None:
    disrupted = condition(pod, "DisruptionTarget")
    if disrupted and is_true(pod, "DisruptionTarget"):
        return Reason(
            Rank.FAILED, f"evicted: {named(disrupted)}", seconds(text(disrupted, "lastTransitionTime")) or 0.0
        )
    if text(pod, "status", "reason") and text(pod, "status", "phase") == "Failed":
        return Reason(Rank.FAILED, named(section(pod, "status")), created(pod))
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
    waits = field(pod, "spec", "containers", 0, "command", 3) == WAITING_SHELL and 'exec: "sh"' in named(ended)
    return f"could not run: {named(ended)}" + "; for an image without sh: -cfg wait_for_rank0=false" * waits


def pull_trouble(pod: Manifest) -> Manifest | None:
    for status in [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]:
        waiting = section(status, "state", "waiting")
        if waiting.get("reason") in PULLS:
            return waiting
    return None


def pull_reason(pod: Manifest, events: Manifests) -> Reason | None:
    waiting = pull_trouble(pod)
    if waiting is None:
        return None
    pulls = [event for event in events_of(pod, events, "Failed") if "pull image" in text(event, "message")]
    message = text(waiting, "message")
    # The text of ImagePullBackOff has the cause on newer nodes only.
    if pulls and "ErrImagePull: " not in message and waiting.get("reason") == "ImagePullBackOff":
        message = text(pulls[-1], "message")
    message = message.rpartition("ErrImagePull: ")[2]
    secrets = events_of(pod, events, "FailedToRetrieveImagePullSecret")
    if secrets:
        message += f" ({text(secrets[0], 'message')})"
    scheduled = section(condition(pod, "PodScheduled"))
    since = min(map(first_seen, pulls), default=seconds(text(scheduled, "lastTransitionTime")) or created(pod))
    is_hopeless = waiting.get("reason") in _HOPELESS_REASONS or bool(_HOPELESS.search(message))
    reason = text(waiting, "reason").replace("ImagePullBackOff", "ErrImagePull")
    return Reason(Rank.CANNOT_PULL, f"the image cannot be pulled: {reason}: {shown(message)}", since, is_hopeless)
