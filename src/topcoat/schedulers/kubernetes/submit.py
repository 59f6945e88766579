"""Create and remove the objects of an application: all of them, or none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

from topcoat.errors import RequestRefused, SchedulerError, SchedulerUnavailable
from topcoat.notices import notice
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.kinds import (
    JOB,
    JOB_SET,
    POD_GROUP,
    SERVICE,
    VOLCANO_JOB,
    WORKLOAD,
    Kind,
    kind_of,
)
from topcoat.schedulers.kubernetes.labels import ANNOTATION_CANCELLED, LABEL_APP, LABEL_QUEUE
from topcoat.schedulers.kubernetes.request import KubernetesJob, needs_owner
from topcoat.tasks import run_all

# What owns others goes first: a JobSet would make its Jobs again.
_KINDS = (JOB_SET, VOLCANO_JOB, JOB, POD_GROUP, SERVICE)
_TOP = (JOB_SET, VOLCANO_JOB, JOB)
_UNDO_TIMEOUT_S = 60.0
_MAX_PAUSE_S = 2.0
# Kueue makes it within a second of the job.
_WORKLOAD_TIMEOUT_S = 3.0
_WORKLOAD_OF = "kueue.x-k8s.io/job-uid"


def validate(client: Client, request: KubernetesJob) -> None:
    """Have the server check all objects; nothing is stored.

    Raises:
        RequestRefused: the server would refuse an object.
    """
    run_all([partial(client.create, manifest, dry_run=True) for manifest in request.objects])


def submit(client: Client, request: KubernetesJob) -> None:
    """Create all objects; if one is refused, or this is interrupted, remove those that exist.

    The top objects own the others: these go with the last top object, also when the cluster deletes it.
    """
    owners: list[dict[str, Any]] = []
    created: list[dict[str, Any]] = []
    for requested in request.objects:
        manifest = requested
        if needs_owner(manifest):
            manifest = {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": owners}}
        try:
            result = client.create(manifest)
        except BaseException as error:
            # Without a response the object may exist.
            _undo(client, created if isinstance(error, RequestRefused) else [*created, manifest])
            raise
        created.append(manifest)
        if not needs_owner(manifest):
            owners.append(_reference(result))


def _reference(created: dict[str, Any]) -> dict[str, Any]:
    metadata = created["metadata"]
    return {
        "apiVersion": created["apiVersion"],
        "kind": created["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _undo(client: Client, created: Sequence[dict[str, Any]]) -> None:
    """Remove objects, even if the server is away for a moment."""
    deadline, pause = time.monotonic() + _UNDO_TIMEOUT_S, 0.1
    left = list(created)
    while left:
        metadata = left[0]["metadata"]
        namespace = metadata.get("namespace") or client.namespace
        try:
            client.delete(kind_of(left[0]), namespace, metadata["name"])
            del left[0]
            continue
        except SchedulerError as failure:
            if not isinstance(failure, SchedulerUnavailable) or time.monotonic() + pause > deadline:
                notice(
                    f"objects of the job may be left: {failure}; to remove them: kubectl delete jobs,services "
                    f"-n {namespace} -l {LABEL_APP}={(metadata.get('labels') or {}).get(LABEL_APP)}"
                )
                return
        time.sleep(pause)
        pause = min(pause * 2, _MAX_PAUSE_S)


def delete(client: Client, namespace: str, name: str) -> None:
    """Delete all objects of an application; the cluster then deletes the pods, with their logs."""
    for kind in _KINDS:
        found = _of_app(client, kind, namespace, name)
        run_all([partial(client.delete, kind, namespace, manifest["metadata"]["name"]) for manifest in found])


def _of_app(client: Client, kind: Kind, namespace: str, name: str) -> Sequence[dict[str, Any]]:
    """Return the objects of a kind; none if the cluster does not have it, or the user may not see it."""
    if not client.serves(kind):
        return []
    try:
        return client.list(kind, namespace, labels=f"{LABEL_APP}={name}")
    except RequestRefused as error:
        # A user may have no rights for add-ons, and then none of their objects.
        if error.status == 403 and kind not in (JOB, SERVICE):
            return []
        raise


def read_objects(client: Client, namespace: str, name: str) -> list[dict[str, Any]]:
    """Return all objects of an application that topcoat has created, those that run pods first."""
    found = [manifest for kind in _KINDS for manifest in _of_app(client, kind, namespace, name)]
    return [manifest for manifest in found if not _is_of_job_set(manifest)]


def _is_of_job_set(manifest: dict[str, Any]) -> bool:
    """Tell whether a JobSet has made an object."""
    owners = manifest["metadata"].get("ownerReferences") or []
    return any(owner.get("kind") == JOB_SET.name for owner in owners)


def cancel(client: Client, namespace: str, name: str) -> None:
    """Stop the pods of an application, and keep its objects, marked as cancelled."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    mark = {"metadata": {"annotations": {ANNOTATION_CANCELLED: now}}}
    for kind in _TOP:
        found = [manifest for manifest in _of_app(client, kind, namespace, name) if not _has_ended(manifest)]
        # The Jobs of a JobSet are suspended with it.
        own = [manifest for manifest in found if not _is_of_job_set(manifest)]
        run_all([partial(_stop, client, kind, manifest, mark) for manifest in own])
        if own and kind is not JOB:
            return


def _stop(client: Client, kind: Kind, manifest: dict[str, Any], mark: dict[str, Any]) -> None:
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    if kind is VOLCANO_JOB:
        client.patch(kind, namespace, name, mark)
        _abort(client, namespace, name)
        return
    queued = LABEL_QUEUE in (manifest["metadata"].get("labels") or {})
    is_deactivated = queued and _deactivate(client, namespace, manifest["metadata"]["uid"])
    client.patch(kind, namespace, name, mark if is_deactivated else {**mark, "spec": {"suspend": True}})


def _deactivate(client: Client, namespace: str, uid: str) -> bool:
    """Tell Kueue to stop a job, which it would resume if it were only suspended; tell whether Kueue has it."""
    deadline = time.monotonic() + _WORKLOAD_TIMEOUT_S
    while client.serves(WORKLOAD):
        workloads = client.list(WORKLOAD, namespace, labels=f"{_WORKLOAD_OF}={uid}")
        for workload in workloads:
            client.patch(WORKLOAD, namespace, workload["metadata"]["name"], {"spec": {"active": False}})
        if workloads or time.monotonic() > deadline:
            return bool(workloads)
        time.sleep(0.2)
    return False


def _abort(client: Client, namespace: str, name: str) -> None:
    """Abort a Job of Volcano, as its command line does, with a command object."""
    current = client.get(VOLCANO_JOB, namespace, name)
    if current is None:
        return
    target = {**_reference(current), "controller": True, "blockOwnerDeletion": True}
    command = {
        "apiVersion": "bus.volcano.sh/v1alpha1",
        "kind": "Command",
        "metadata": {
            "generateName": f"{name}-abort-",
            "namespace": namespace,
            "ownerReferences": [target],
        },
        "action": "AbortJob",
        "target": target,
    }
    path = f"/apis/bus.volcano.sh/v1alpha1/namespaces/{namespace}/commands"
    client.post(path, command, f"aborting the Job {namespace}/{name}")


def _has_ended(manifest: dict[str, Any]) -> bool:
    status = manifest.get("status") or {}
    ends = ("Complete", "Failed", "Completed")
    has_condition = any(
        condition.get("type") in ends and condition.get("status") == "True"
        for condition in status.get("conditions") or []
    )
    phase = status.get("state", {}).get("phase") if isinstance(status.get("state"), dict) else None
    return has_condition or phase in ("Completed", "Failed", "Terminated", "Aborted")
