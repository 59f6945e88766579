from __future__ import annotations

from typing import Any

import pytest

from topcoat.errors import SchedulerError
from topcoat.schedulers.aws_batch.queue import Kind, Queue, parse_queue, why_stuck


def queue(**fields: Any) -> dict[str, Any]:
    return {"jobQueueName": "q", "state": "ENABLED", "status": "VALID", **fields}


def environment(type_: str = "EC2", *instance_types: str, **fields: Any) -> dict[str, Any]:
    resources = {"type": type_, "maxvCpus": 16, "instanceTypes": list(instance_types)}
    return {
        "computeEnvironmentName": "c",
        "state": "ENABLED",
        "status": "VALID",
        "computeResources": resources,
        **fields,
    }


@pytest.mark.parametrize(
    ("environments", "expected"),
    [
        ([environment("EC2", "m5")], Queue("q", Kind.EC2, instance_types=("m5",), max_vcpus=16)),
        ([environment("SPOT", "m5"), environment("EC2", "c5", "m5")], Queue("q", Kind.EC2, False, ("m5", "c5"), 16)),
        ([environment("FARGATE")], Queue("q", Kind.FARGATE, max_vcpus=16)),
        ([environment("FARGATE_SPOT")], Queue("q", Kind.FARGATE, max_vcpus=16)),
        ([{"type": "UNMANAGED"}, environment("EC2", "m5")], Queue("q", Kind.EC2)),
        ([], Queue("q", Kind.EC2)),
    ],
)
def test_ec2_and_fargate_queues_are_told_apart(environments: list[dict[str, Any]], expected: Queue) -> None:
    assert parse_queue(queue(), environments) == expected


def test_the_type_of_the_queue_counts_before_it_has_environments() -> None:
    assert parse_queue(queue(jobQueueType="ECS_FARGATE"), []).kind is Kind.FARGATE


def test_a_scheduling_policy_is_seen() -> None:
    assert parse_queue(queue(schedulingPolicyArn="arn:x"), []).has_policy


@pytest.mark.parametrize(
    ("fields", "environments", "message"),
    [
        ({"state": "DISABLED"}, [], "the job queue 'q' is disabled"),
        ({"jobQueueType": "EKS"}, [], "runs on Amazon EKS: use the scheduler kubernetes"),
        ({}, [environment(containerOrchestrationType="EKS")], "runs on Amazon EKS"),
        ({"jobQueueType": "SAGEMAKER_TRAINING"}, [], "runs on SageMaker"),
        ({}, [environment("ECS_MANAGED_INSTANCES")], "runs on ECS managed instances"),
    ],
)
def test_a_queue_that_takes_no_jobs_is_an_error(
    fields: dict[str, Any], environments: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(SchedulerError, match=message) as caught:
        parse_queue(queue(**fields), environments)
    assert caught.value.hint


def test_a_stuck_queue_is_explained_by_its_environments() -> None:
    invalid = environment(status="INVALID", statusReason="CLIENT_ERROR - Not authorized\x1b[31m")
    assert why_stuck(queue(), [environment(), invalid]) == (
        r"the compute environment c is INVALID: CLIENT_ERROR - Not authorized\x1b[31m"
    )
    assert why_stuck(queue(state="DISABLED"), []) == "the job queue q is DISABLED"
    assert why_stuck(queue(), [environment(statusReason="ComputeEnvironment Healthy")]) == ""
