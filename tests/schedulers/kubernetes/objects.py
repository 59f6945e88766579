"""Objects as an API server sends them, in short."""

from __future__ import annotations

from typing import Any

from topcoat.schedulers.kubernetes.labels import ANNOTATION_ROLE_NAME, COMPLETION_INDEX, LABEL_ROLE

NOW = 1_700_000_030.0
BEGUN = "2023-11-14T22:13:20Z"


def job(role: str = "trainer", replicas: int = 1, *, uid: str = "j", **fields: Any) -> dict[str, Any]:
    """Return a Job; *fields* are merged into metadata, spec and status."""
    return {
        "kind": "Job",
        "metadata": {
            "name": role,
            "uid": uid,
            "annotations": {ANNOTATION_ROLE_NAME: role},
            **fields.get("metadata", {}),
        },
        "spec": {"completions": replicas, "parallelism": replicas, **fields.get("spec", {})},
        "status": {"active": replicas, **fields.get("status", {})},
    }


def pod(role: str = "trainer", index: int = 0, *, uid: str = "p", **status: Any) -> dict[str, Any]:
    """Return a pod with this status; ``state`` is that of its container, ``spec`` is merged into its spec."""
    state, spec = status.pop("state", None), status.pop("spec", {})
    if state is not None:
        status["containerStatuses"] = [{"name": "main", "state": state}]
    return {
        "metadata": {
            "name": f"{role}-{index}",
            "uid": uid,
            "creationTimestamp": status.pop("created", BEGUN),
            "labels": {LABEL_ROLE: role},
            "annotations": {ANNOTATION_ROLE_NAME: role, COMPLETION_INDEX: str(index)},
        },
        "spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": "64Mi"}}}], **spec},
        "status": {"phase": "Pending", **status},
    }


def scheduled() -> dict[str, Any]:
    return {"type": "PodScheduled", "status": "True", "lastTransitionTime": BEGUN}


def unschedulable(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {**condition, "lastTransitionTime": BEGUN}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": BEGUN,
            "finishedAt": "2023-11-14T22:13:25Z",
        }
    }


def event(about: dict[str, Any], reason: str, message: str, stamp: str = BEGUN) -> dict[str, Any]:
    return {
        "involvedObject": {"uid": about["metadata"]["uid"]},
        "reason": reason,
        "message": message,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
    }


def condition(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": BEGUN}
