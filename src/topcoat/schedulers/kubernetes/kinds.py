"""The kinds of objects that a job is made of or tells about, and their paths in the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote


class Kind(NamedTuple):
    """A kind of object: ``apiVersion``, ``kind``, and the plural that its paths have."""

    api_version: str
    name: str
    plural: str
    is_namespaced: bool = True

    def path(self, namespace: str | None = None, name: str = "") -> str:
        """Return the path of an object or, without *name*, of the list; ``None``: in all namespaces."""
        parts = [group_path(self.api_version)]
        if self.is_namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        return "/".join([*parts, self.plural, *([quote(name, safe="")] if name else [])])


def group_path(api_version: str) -> str:
    """Return the path below which an API version has its kinds."""
    return f"/{'apis' if '/' in api_version else 'api'}/{api_version}"


JOB = Kind("batch/v1", "Job", "jobs")
SERVICE = Kind("v1", "Service", "services")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
NAMESPACE = Kind("v1", "Namespace", "namespaces", is_namespaced=False)
POD_GROUP = Kind("scheduling.k8s.io/v1beta1", "PodGroup", "podgroups")
JOB_SET = Kind("jobset.x-k8s.io/v1alpha2", "JobSet", "jobsets")
WORKLOAD = Kind("kueue.x-k8s.io/v1beta2", "Workload", "workloads")
VOLCANO_JOB = Kind("batch.volcano.sh/v1alpha1", "Job", "jobs")

_KINDS = {kind[:2]: kind for kind in (JOB, SERVICE, POD, EVENT, NAMESPACE, POD_GROUP, JOB_SET, WORKLOAD, VOLCANO_JOB)}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """Return the kind of an object that topcoat makes; raise ``KeyError`` for another."""
    return _KINDS[manifest["apiVersion"], manifest["kind"]]
