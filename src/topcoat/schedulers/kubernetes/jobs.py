"""The objects of an application as the API wants them: Jobs, Service, PodGroup, JobSet. No side effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topcoat.schedulers.kubernetes.arrangement import Arrangement, restarted_together
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET, POD_GROUP, SERVICE
from topcoat.schedulers.kubernetes.labels import ANNOTATION_ROLE_NAME, LABEL_APP, LABEL_QUEUE, LABEL_ROLE, role_label
from topcoat.schedulers.kubernetes.template import Submission, pod_template
from topcoat.specs import RetryPolicy, Role

_Object = dict[str, Any]


def plain_jobs(submission: Submission, arrangement: Arrangement) -> list[_Object]:
    """Return one Job for each role, the headless Service, and the PodGroup if there is one."""
    app, name = submission.app, submission.name
    rank0_host = f"{name}-{submission.part(app.roles[0])}-0.{name}"
    jobs = []
    for role in app.roles:
        metadata = submission.metadata(f"{name}-{submission.part(role)}", _role_labels(role))
        metadata["annotations"][ANNOTATION_ROLE_NAME] = role.name
        if arrangement.gang == "kueue":
            metadata["labels"][LABEL_QUEUE] = submission.cfg.queue
        env = {"PET_MAX_RESTARTS": str(role.max_retries)} if arrangement.torchrun_restarts else {}
        template = pod_template(submission, role, rank0_host=rank0_host, subdomain=name, env=env)
        if arrangement.gang == "podgroup":
            template["spec"]["schedulingGroup"] = {"podGroupName": name}
        retries = _retries(submission, role, torchrun_restarts=arrangement.torchrun_restarts)
        spec = {**_job_spec(submission, role, template), **retries}
        if submission.cfg.ttl_seconds_after_finished is not None:
            spec["ttlSecondsAfterFinished"] = submission.cfg.ttl_seconds_after_finished
        jobs.append(_object(JOB, metadata, spec))
    return [*jobs, *([_pod_group(submission)] if arrangement.gang == "podgroup" else []), _service(submission)]


def job_set(submission: Submission, arrangement: Arrangement) -> _Object:
    """Return all roles as one JobSet, which makes the Jobs and the headless Service."""
    app, name = submission.app, submission.name
    rank0_host = f"{name}-{submission.part(app.roles[0])}-0-0.{name}"
    replicated = []
    for role in app.roles:
        template = pod_template(submission, role, rank0_host=rank0_host, subdomain=name)
        # The JobSet sets it.
        del template["spec"]["subdomain"]
        annotations = {**(submission.cfg.annotations or {}), ANNOTATION_ROLE_NAME: role.name}
        job = {
            "metadata": {"labels": submission.labels(role), "annotations": annotations},
            "spec": {**_job_spec(submission, role, template), **_retries_in_job_set(submission, role)},
        }
        replicated.append({"name": submission.part(role), "replicas": 1, "template": job})
    spec: _Object = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "failurePolicy": _failure_policy(submission),
        "replicatedJobs": replicated,
    }
    if submission.cfg.ttl_seconds_after_finished is not None:
        spec["ttlSecondsAfterFinished"] = submission.cfg.ttl_seconds_after_finished
    metadata = submission.metadata(name)
    if arrangement.gang == "kueue":
        metadata["labels"][LABEL_QUEUE] = submission.cfg.queue
    return _object(JOB_SET, metadata, spec)


def _object(kind: Any, metadata: _Object, spec: _Object) -> _Object:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}


def _role_labels(role: Role) -> Mapping[str, str]:
    return {LABEL_ROLE: role_label(role.name)}


def _job_spec(submission: Submission, role: Role, template: _Object) -> _Object:
    spec: _Object = {
        "completions": role.num_replicas,
        "parallelism": role.num_replicas,
        "completionMode": "Indexed",
        # A replica is started again when its pod has ended. An eviction, a preemption or a drain is no failure.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": template,
    }
    if submission.cfg.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = submission.cfg.active_deadline_seconds
    return spec


def _retries(submission: Submission, role: Role, *, torchrun_restarts: bool) -> _Object:
    """Return how often the Job of *role* starts a replica again.

    The policy REPLICA counts for each replica, and lets the others end. Otherwise the first failure without a retry
    ends the role.
    """
    if role.num_replicas > 1 and (role.retry_policy is RetryPolicy.REPLICA or torchrun_restarts):
        return {"backoffLimitPerIndex": role.max_retries}
    return {"backoffLimit": role.max_retries if role.num_replicas == 1 else 0}


def _retries_in_job_set(submission: Submission, role: Role) -> _Object:
    if role in restarted_together(submission.app):
        return {"backoffLimit": 0}
    return _retries(submission, role, torchrun_restarts=False)


def _failure_policy(submission: Submission) -> _Object:
    """Return what a JobSet does when a Job fails: restart all of them, or fail if the Job's role has no retries."""
    together = restarted_together(submission.app)
    if not together:
        return {"maxRestarts": 0}
    others = [submission.part(role) for role in submission.app.roles if role not in together]
    policy: _Object = {"maxRestarts": min(role.max_retries for role in together)}
    if others:
        policy["rules"] = [{"name": "noRetries", "action": "FailJobSet", "targetReplicatedJobs": others}]
    return policy


def _pod_group(submission: Submission) -> _Object:
    replicas = [role.num_replicas if role.min_replicas is None else role.min_replicas for role in submission.app.roles]
    spec = {"schedulingPolicy": {"gang": {"minCount": sum(replicas)}}}
    return _object(POD_GROUP, submission.metadata(submission.name), spec)


def _service(submission: Submission) -> _Object:
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {LABEL_APP: submission.name}}
    return _object(SERVICE, submission.metadata(submission.name), spec)
