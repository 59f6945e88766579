from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from tests.schedulers.aws_batch.requests import job as make_job
from tests.schedulers.aws_batch.requests import role
from topcoat.schedulers.aws_batch import jobs
from topcoat.schedulers.aws_batch.jobs import Node, job_state, log_streams, nodes_of, roles_of, target_nodes, why
from topcoat.specs import AppState, BindMount, DeviceMount, Resource, VolumeMount, macros


def detail(status: str = "FAILED", **fields: Any) -> dict[str, Any]:
    return {"jobId": "j", "jobName": "train-x1", "status": status, **fields}


def two_nodes(status: str = "FAILED", **fields: Any) -> dict[str, Any]:
    made = make_job(role("a"), role("b", 2))
    return detail(status, nodeProperties=made.job_def["nodeProperties"], **fields)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"status": "SUBMITTED"}, AppState.PENDING),
        ({"status": "PENDING"}, AppState.PENDING),
        ({"status": "RUNNABLE"}, AppState.PENDING),
        ({"status": "STARTING"}, AppState.PENDING),
        ({"status": "RUNNING"}, AppState.RUNNING),
        ({"status": "SUCCEEDED"}, AppState.SUCCEEDED),
        ({"status": "FAILED"}, AppState.FAILED),
        ({"status": "FAILED", "isCancelled": True}, AppState.CANCELLED),
        ({"status": "FAILED", "isTerminated": True}, AppState.CANCELLED),
        ({"status": "FAILED", "statusReason": jobs.CANCELLED}, AppState.CANCELLED),
        ({"status": "SUCCEEDED", "isTerminated": True}, AppState.SUCCEEDED),
        ({"status": "NEW_ONE"}, AppState.UNKNOWN),
        ({}, AppState.UNKNOWN),
    ],
)
def test_states(fields: dict[str, Any], state: AppState) -> None:
    assert job_state(fields) is state


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {
                "container": {"reason": "CannotPullContainerError: pull access denied"},
                "statusReason": "Task failed to start",
            },
            "CannotPullContainerError: pull access denied: Task failed to start",
        ),
        (
            {"container": {"exitCode": 3}, "statusReason": "Essential container in task exited"},
            "ended with exit code 3: Essential container in task exited",
        ),
        (
            {"container": {"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"}},
            "ended with exit code 137: OutOfMemoryError: Container killed due to memory usage",
        ),
        ({"attempts": [{"container": {"exitCode": 1}}, {"container": {"exitCode": 9}}]}, "ended with exit code 9"),
        ({"statusReason": "Host EC2 (instance i-1) terminated."}, "Host EC2 (instance i-1) terminated."),
        ({"statusReason": "bad \x1b[31m"}, r"bad \x1b[31m"),
        (
            {"status": "SUCCEEDED", "statusReason": "Essential container in task exited", "container": {"exitCode": 0}},
            "",
        ),
        (
            {"status": "RUNNABLE", "statusReason": "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"},
            "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        ),
        ({}, ""),
    ],
)
def test_the_reason_that_matters_is_reported(fields: dict[str, Any], expected: str) -> None:
    assert why(detail(**fields), {}) == expected


def test_the_node_that_failed_first_is_the_reason() -> None:
    details = {
        0: detail(stoppedAt=20, container={"exitCode": 143}),
        2: detail(stoppedAt=10, container={"exitCode": 7}),
    }
    assert why(two_nodes(statusReason="node failed"), details) == "b/1 ended with exit code 7"
    assert why(two_nodes(statusReason="node failed"), {}) == "node failed"


def test_nodes_belong_to_replicas_of_their_roles() -> None:
    assert list(nodes_of(two_nodes())) == [Node("a", 0, 0), Node("b", 0, 1), Node("b", 1, 2)]
    assert list(nodes_of(detail())) == [Node("node", 0, 0)]


@pytest.mark.parametrize(
    ("text", "expected"), [("0:3", (0, 3)), (":3", (0, 3)), ("2:", (2, 7)), ("5", (5, 5)), (":", (0, 7)), ("x", (0, 0))]
)
def test_target_nodes_are_read_in_every_form(text: str, expected: tuple[int, int]) -> None:
    assert target_nodes(text, 8) == expected


def test_a_job_of_a_stranger_with_odd_nodes_is_bounded() -> None:
    groups = [{"targetNodes": "0:999999999999", "container": {}}]
    job = detail(nodeProperties={"numNodes": 10**12, "nodeRangeProperties": groups})
    assert len(list(nodes_of(job))) == 10_000


def test_nodes_that_aws_has_not_made_have_the_state_of_the_job() -> None:
    details = {0: detail("RUNNING", container={"networkInterfaces": [{"privateIpv4Address": "10.0.0.5"}]})}
    statuses = jobs.role_statuses(two_nodes("STARTING"), details)
    assert [(status.role, [replica.state for replica in status.replicas]) for status in statuses] == [
        ("a", [AppState.RUNNING]),
        ("b", [AppState.PENDING, AppState.PENDING]),
    ]
    assert statuses[0].replicas[0].hostname == "10.0.0.5"


def test_the_roles_of_a_job_are_described_as_they_were_declared() -> None:
    mounts = [
        BindMount("/data", "/data", read_only=True),
        VolumeMount("fs-1:/sub", "/efs"),
        DeviceMount("/dev/fuse", "/dev/fuse", "rw"),
    ]
    declared = role(
        "b",
        2,
        args=["train.py", macros.replica_id],
        env={"A": "1"},
        resource=Resource(4, 1, 8000),
        max_retries=2,
        mounts=mounts,
    )
    made = make_job(role("a"), declared)
    job = detail("RUNNING", nodeProperties=made.job_def["nodeProperties"], retryStrategy=made.job_def["retryStrategy"])
    _, read = roles_of(job)
    assert (read.name, read.image, read.entrypoint, read.args) == ("b", declared.image, "python", declared.args)
    assert (read.num_replicas, read.resource, read.mounts, read.max_retries) == (2, declared.resource, mounts, 2)
    assert read.env["A"] == "1"


def test_a_job_with_the_older_fields_for_resources_is_described() -> None:
    container = {"command": [], "vcpus": 2.0, "memory": 64, "environment": [{"name": "TORCHX_IMAGE", "value": "i"}]}
    (read,) = roles_of(detail(container=container))
    assert (read.image, read.resource) == ("i", Resource(2, 0, 64))


def test_a_job_that_topcoat_did_not_submit_is_described_as_far_as_it_is_known() -> None:
    requirements = [{"type": "QUBIT", "value": "x"}, {"type": "VCPU", "value": "0.5"}]
    odd = {"resourceRequirements": requirements, "command": ["a"]}
    (read,) = roles_of(detail(container=odd))
    assert (read.name, read.image, read.entrypoint, read.resource) == ("node", "", "a", Resource(0, 0, -1))
    (empty,) = roles_of(detail())
    assert empty.args == []


def test_the_logs_of_all_runs_are_read_in_order_and_each_once() -> None:
    attempts = [{"container": {"logStreamName": "s1"}}, {"container": {}}, {"container": {"logStreamName": "s2"}}]
    assert log_streams(detail(attempts=attempts, container={"logStreamName": "s2"})) == ["s1", "s2"]
    assert jobs.log_group(detail(container={"logConfiguration": {"options": {"awslogs-group": "g"}}})) == "g"
    assert jobs.log_group(detail()) == "/aws/batch/job"
    assert jobs.num_restarts(detail(attempts=attempts)) == 2


def test_times_are_those_of_the_last_run() -> None:
    job = detail(startedAt=1000, stoppedAt=5000, container={"exitCode": 3})
    times = jobs.times_of(Node("a", 1, 1), job)
    assert times == ("a", 1, datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc), times.ended, 3)
    assert times.ended is not None
    assert times.ended.second == 5
    running = jobs.times_of(Node("a", 1, 1), {**job, "status": "RUNNING"})
    assert (running.ended, running.exit_code) == (None, None)


@pytest.mark.parametrize(
    ("arn", "url"),
    [
        (
            "arn:aws:batch:us-west-2:1234:job/a-1",
            "https://us-west-2.console.aws.amazon.com/batch/home?region=us-west-2#jobs/detail/a-1",
        ),
        (
            "arn:aws-cn:batch:cn-north-1:1234:job/a-1",
            "https://cn-north-1.console.amazonaws.cn/batch/home?region=cn-north-1#jobs/detail/a-1",
        ),
        ("nonsense", None),
    ],
)
def test_the_page_of_the_console(arn: str, url: str | None) -> None:
    assert jobs.ui_url(detail(jobArn=arn)) == url
    assert "#jobs/mnp-job/a-1" in str(jobs.ui_url(two_nodes(jobArn="arn:aws:batch:us-west-2:1234:job/a-1")))


def test_milliseconds_of_aws_are_local_times_as_in_torchx() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000)
    assert jobs.to_datetime(jobs.to_millis_since_epoch(moment)) == moment
