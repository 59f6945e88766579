"""What a job queue runs on: EC2 or Fargate, which instance types, and why nothing starts there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped

_FARGATE_TYPES = ("FARGATE", "FARGATE_SPOT")
_UNSUPPORTED = {
    "EKS": "Amazon EKS: use the scheduler kubernetes",
    "SAGEMAKER_TRAINING": "SageMaker",
    "ECS_MANAGED_INSTANCES": "ECS managed instances",
}


class Kind(str, Enum):
    """Name what the jobs of a queue run on, as AWS Batch writes it."""

    EC2 = "EC2"
    FARGATE = "FARGATE"


@dataclass(frozen=True)
class Queue:
    """Describe a job queue.

    Attributes:
        name: its name.
        kind: what its jobs run on.
        has_policy: whether it has a scheduling policy, so that jobs need a share identifier.
        instance_types: types (``p5.48xlarge``) and families (``p5``) of all its compute environments; empty if unknown.
        max_vcpus: of its largest compute environment; 0 if unknown.
    """

    name: str
    kind: Kind = Kind.EC2
    has_policy: bool = False
    instance_types: tuple[str, ...] = ()
    max_vcpus: int = 0


def environment_names(queue: Mapping[str, Any]) -> list[str]:
    """Return the compute environments (names or ARNs) of a queue as AWS describes it."""
    return [str(entry.get("computeEnvironment") or "") for entry in queue.get("computeEnvironmentOrder") or []]


def parse_queue(queue: Mapping[str, Any], environments: Sequence[Mapping[str, Any]]) -> Queue:
    """Return what AWS describes as *queue*, with its compute *environments*.

    Raises:
        SchedulerError: it is disabled, or runs on something that jobs cannot be submitted to.
    """
    name = str(queue.get("jobQueueName") or "")
    if queue.get("state") != "ENABLED":
        raise SchedulerError(
            f"the job queue {name!r} is disabled",
            hint=f"aws batch update-job-queue --job-queue {name} --state ENABLED, or use another queue",
        )
    resources = [environment.get("computeResources") or {} for environment in environments]
    types = {str(resource.get("type") or "") for resource in resources}
    runs_on = {str(queue.get("jobQueueType") or ""), *types}
    runs_on |= {"EKS"} if any(item.get("containerOrchestrationType") == "EKS" for item in environments) else set()
    for kind, words in _UNSUPPORTED.items():
        if kind in runs_on:
            raise SchedulerError(f"the job queue {name!r} runs on {words}", hint="use a queue of EC2 or Fargate")
    is_fargate = queue.get("jobQueueType") == "ECS_FARGATE" or bool(types.intersection(_FARGATE_TYPES))
    # An unmanaged environment lists none, so anything may run there.
    lists = [resource.get("instanceTypes") or [] for resource in resources]
    return Queue(
        name,
        Kind.FARGATE if is_fargate else Kind.EC2,
        has_policy=bool(queue.get("schedulingPolicyArn")),
        instance_types=tuple(dict.fromkeys(str(item) for items in lists for item in items)) if all(lists) else (),
        max_vcpus=max((int(resource["maxvCpus"]) for resource in resources), default=0) if all(resources) else 0,
    )


def why_stuck(queue: Mapping[str, Any], environments: Iterable[Mapping[str, Any]]) -> str:
    """Return why no job starts in a queue as AWS describes it; empty if AWS reports no reason."""
    problems = []
    for kind, name, item in (
        ("job queue", queue.get("jobQueueName"), queue),
        *(("compute environment", item.get("computeEnvironmentName"), item) for item in environments),
    ):
        states = [str(item.get(key)) for key in ("state", "status") if item.get(key) in ("DISABLED", "INVALID")]
        reason = escaped(str(item.get("statusReason") or ""))
        # A sound environment has a reason too, such as "ComputeEnvironment Healthy".
        if states:
            problems.append(f"the {kind} {name} is {' and '.join(states)}" + (f": {reason}" if reason else ""))
    return "; ".join(problems)
