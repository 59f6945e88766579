"""Read what the cluster has of an application."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

from topcoat.errors import RequestRefused
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.fields import Manifests, field, text
from topcoat.schedulers.kubernetes.kinds import EVENT, JOB, JOB_SET, POD, POD_GROUP, VOLCANO_JOB, WORKLOAD, Kind
from topcoat.schedulers.kubernetes.labels import LABEL_APP
from topcoat.schedulers.kubernetes.reasons import needs_events
from topcoat.tasks import run_all

_JOB_SET_OF = "jobset.sigs.k8s.io/jobset-name"
_QUEUE_OF = "kueue.x-k8s.io/queue-name"
_WORKLOAD_OF = "kueue.x-k8s.io/job-uid"
_MAX_OBJECTS_WITH_EVENTS = 8


@dataclass(frozen=True)
class AppObjects:
    """What the cluster has of one application.

    Attributes:
        now: the server's time, in seconds since 1970.
        jobs: of ``batch/v1``, those of a JobSet too.
        workloads: Kueue's objects for the Jobs or the JobSet.
        events: of objects that do not tell by themselves what they wait for.
    """

    now: float = 0.0
    jobs: Manifests = ()
    pods: Manifests = ()
    job_sets: Manifests = ()
    volcano_jobs: Manifests = ()
    pod_groups: Manifests = ()
    workloads: Manifests = ()
    events: Manifests = ()

    @property
    def owners(self) -> Manifests:
        """The objects that topcoat has submitted and that run pods."""
        return self.job_sets or self.volcano_jobs or self.jobs


def fetch(client: Client, namespace: str, name: str) -> AppObjects | None:
    """Return what the cluster has of an application, ``None`` if it has nothing that runs pods."""

    def of_kind(kind: Kind, labels: str = f"{LABEL_APP}={name}", fields: str = "") -> Manifests:
        try:
            return client.list(kind, namespace, labels=labels, fields=fields) if client.serves(kind) else []
        except RequestRefused as error:
            # A user may be allowed to see Jobs and pods alone.
            if kind in (JOB, POD) or error.status != 403:
                raise
            return []

    jobs, pods = run_all([partial(of_kind, JOB), partial(of_kind, POD)])
    further: dict[str, Kind] = {}
    if not jobs or any(field(job, "metadata", "labels", _JOB_SET_OF) for job in jobs):
        further["job_sets"] = JOB_SET
    if not jobs:
        further["volcano_jobs"] = VOLCANO_JOB
    if any(field(pod, "spec", "schedulingGroup") for pod in pods):
        further["pod_groups"] = POD_GROUP
    found: dict[str, Any] = dict(
        zip(further, run_all([partial(of_kind, kind) for kind in further.values()]), strict=True)
    )
    objects = AppObjects(client.now(), jobs, pods, **found)
    if not objects.owners:
        return None
    queued = [
        text(owner, "metadata", "uid") for owner in objects.owners if field(owner, "metadata", "labels", _QUEUE_OF)
    ]
    workloads = run_all([partial(of_kind, WORKLOAD, f"{_WORKLOAD_OF}={uid}") for uid in queued])
    unclear = needs_events(jobs, pods)[:_MAX_OBJECTS_WITH_EVENTS]
    events = run_all([partial(of_kind, EVENT, "", f"involvedObject.uid={uid}") for uid in unclear])
    return dataclasses.replace(objects, workloads=_joined(workloads), events=_joined(events))


def _joined(lists: list[Manifests]) -> Manifests:
    return [item for part in lists for item in part]
