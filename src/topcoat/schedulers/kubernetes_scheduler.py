"""TorchX's module name for ``kubernetes``."""

from __future__ import annotations

from topcoat.schedulers.kubernetes.options import RESERVED_MEMMB, RESERVED_MILLICPU, KubernetesOpts, Opts
from topcoat.schedulers.kubernetes.pod import PLACEHOLDER_FIELD_PATH, role_to_pod
from topcoat.schedulers.kubernetes.request import KubernetesJob
from topcoat.schedulers.kubernetes.scheduler import KubernetesScheduler, create_scheduler
from topcoat.schedulers.kubernetes.volcano import (
    LABEL_APP_NAME,
    LABEL_KUBE_APP_NAME,
    LABEL_ORGANIZATION,
    LABEL_REPLICA_ID,
    LABEL_ROLE_INDEX,
    LABEL_ROLE_NAME,
    LABEL_UNIQUE_NAME,
    LABEL_VERSION,
    RETRY_POLICIES,
    app_to_resource,
    pod_labels,
)
from topcoat.specs.named_resources_aws import K8S_ITYPE as LABEL_INSTANCE_TYPE

__all__ = [
    "LABEL_APP_NAME",
    "LABEL_INSTANCE_TYPE",
    "LABEL_KUBE_APP_NAME",
    "LABEL_ORGANIZATION",
    "LABEL_REPLICA_ID",
    "LABEL_ROLE_INDEX",
    "LABEL_ROLE_NAME",
    "LABEL_UNIQUE_NAME",
    "LABEL_VERSION",
    "PLACEHOLDER_FIELD_PATH",
    "RESERVED_MEMMB",
    "RESERVED_MILLICPU",
    "RETRY_POLICIES",
    "KubernetesJob",
    "KubernetesOpts",
    "KubernetesScheduler",
    "Opts",
    "app_to_resource",
    "create_scheduler",
    "pod_labels",
    "role_to_pod",
    "sanitize_for_serialization",
]


def sanitize_for_serialization(obj: object) -> object:
    """Return an object of the official client, or what contains one, as plain data."""
    from kubernetes import client

    return client.ApiClient().sanitize_for_serialization(obj)  # type: ignore[no-untyped-call]
