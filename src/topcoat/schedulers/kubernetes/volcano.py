"""An application as one Job of Volcano: the request that TorchX makes. No side effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from topcoat.schedulers.env import RANK0_ENV
from topcoat.schedulers.image_entrypoint import keeps_entrypoint
from topcoat.schedulers.kubernetes.kinds import VOLCANO_JOB
from topcoat.schedulers.kubernetes.labels import label_value, new_name
from topcoat.schedulers.kubernetes.options import REPLACE_OR_KEEP, RESERVED_MEMMB, RESERVED_MILLICPU, Opts
from topcoat.schedulers.kubernetes.template import Submission, base_pod, overlaid, replica_role
from topcoat.specs import AppDef, RetryPolicy, Role
from topcoat.version import __version__

RETRY_POLICIES: Mapping[str, Iterable[Mapping[str, str]]] = {
    RetryPolicy.REPLICA: [],
    RetryPolicy.ROLE: [
        {"event": "PodEvicted", "action": "RestartJob"},
        {"event": "PodFailed", "action": "RestartJob"},
    ],
    RetryPolicy.APPLICATION: [
        {"event": "PodEvicted", "action": "RestartJob"},
        {"event": "PodFailed", "action": "RestartJob"},
    ],
}
"""What Volcano does for each retry policy; ROLE is only for applications of one role."""

LABEL_VERSION = "torchx.pytorch.org/version"
LABEL_APP_NAME = "torchx.pytorch.org/app-name"
LABEL_ROLE_INDEX = "torchx.pytorch.org/role-index"
LABEL_ROLE_NAME = "torchx.pytorch.org/role-name"
LABEL_REPLICA_ID = "torchx.pytorch.org/replica-id"
LABEL_KUBE_APP_NAME = "app.kubernetes.io/name"
LABEL_ORGANIZATION = "app.kubernetes.io/managed-by"
LABEL_UNIQUE_NAME = "app.kubernetes.io/instance"


def app_to_resource(
    app: AppDef,
    queue: str,
    service_account: str | None = None,
    priority_class: str | None = None,
    reserved_millicpu: int = RESERVED_MILLICPU,
    reserved_memmb: int = RESERVED_MEMMB,
    efa_device_count: int | None = None,
) -> dict[str, Any]:
    """Return a Job of Volcano for *app* (TorchX's function), under a new name in the namespace ``default``."""
    cfg = Opts(
        queue=queue,
        service_account=service_account,
        priority_class=priority_class,
        reserved_millicpu=reserved_millicpu,
        reserved_memmb=reserved_memmb,
        efa_device_count=efa_device_count,
    )
    return volcano_job(Submission(app, cfg, new_name(app.name), "default"))


def volcano_job(submission: Submission) -> dict[str, Any]:
    """Return the Job of Volcano: one task for each replica, because macros differ between them."""
    app, cfg, name = submission.app, submission.cfg, submission.name
    first = f"{submission.part(app.roles[0])}-0"
    tasks = []
    for role_index, role in enumerate(app.roles):
        for replica_id in range(role.num_replicas):
            task_name = f"{submission.part(role)}-{replica_id}"
            task: dict[str, Any] = {
                "replicas": 1,
                "name": task_name,
                "template": _template(submission, role_index, role, replica_id, first),
            }
            if role.max_retries > 0:
                task["maxRetry"] = role.max_retries
                task["policies"] = [dict(policy) for policy in RETRY_POLICIES[role.retry_policy]]
            if role.min_replicas is not None:
                task["minAvailable"] = 1 if replica_id < role.min_replicas else 0
            tasks.append(task)
    spec: dict[str, Any] = {
        "schedulerName": "volcano",
        "queue": cfg.queue or "default",
        "tasks": tasks,
        "maxRetry": min(role.max_retries for role in app.roles),
        # The host names of replicas resolve before they are ready: https://github.com/volcano-sh/volcano/issues/533
        "plugins": {"svc": ["--publish-not-ready-addresses"], "env": []},
    }
    if cfg.priority_class is not None:
        spec["priorityClassName"] = cfg.priority_class
    if cfg.ttl_seconds_after_finished is not None:
        spec["ttlSecondsAfterFinished"] = cfg.ttl_seconds_after_finished
    return {
        "apiVersion": VOLCANO_JOB.api_version,
        "kind": VOLCANO_JOB.name,
        "metadata": submission.metadata(name),
        "spec": spec,
    }


def _template(submission: Submission, role_index: int, role: Role, replica_id: int, first: str) -> dict[str, Any]:
    is_rank0 = role_index == 0 and replica_id == 0
    # Volcano's plugins make this variable, the hosts of the first task, and the pods' host names.
    rank0_env = RANK0_ENV if is_rank0 else f"VC_{first}_HOSTS".upper().replace("-", "_")
    host = f"{submission.name}-{first}-0.{submission.name}"
    replica = replica_role(submission, role, str(replica_id), host, env={}, rank0_env=rank0_env)
    if is_rank0:
        replica.env[RANK0_ENV] = "localhost"
    pod = base_pod(submission, replica, f"{submission.part(role)}-{replica_id}")
    if submission.cfg.active_deadline_seconds is not None:
        pod["spec"]["activeDeadlineSeconds"] = submission.cfg.active_deadline_seconds
    if keeps_entrypoint(submission.cfg, REPLACE_OR_KEEP):
        container = pod["spec"]["containers"][0]
        container["args"] = container.pop("command")
    pod = overlaid(pod, submission, role, replica)
    labels = pod_labels(submission.app, role_index, role, replica_id, submission.name)
    pod["metadata"]["labels"].update(labels)
    return pod


def pod_labels(app: AppDef, role_idx: int, role: Role, replica_id: int, app_id: str) -> dict[str, str]:
    """Return TorchX's labels of a pod, with valid values."""
    return {
        LABEL_VERSION: label_value(__version__),
        LABEL_APP_NAME: label_value(app.name),
        LABEL_ROLE_INDEX: str(role_idx),
        LABEL_ROLE_NAME: label_value(role.name),
        LABEL_REPLICA_ID: str(replica_id),
        LABEL_KUBE_APP_NAME: label_value(app.name),
        LABEL_ORGANIZATION: "torchx.pytorch.org",
        LABEL_UNIQUE_NAME: label_value(app_id),
    }
