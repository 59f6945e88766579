from __future__ import annotations

from typing import Any

import pytest

from tests.schedulers.aws_batch.requests import EC2, EXECUTION_ROLE, FARGATE, options, role
from tests.support.notices import recorded_notices
from topcoat.errors import TopcoatError
from topcoat.schedulers.aws_batch.checks import check_app, is_arm
from topcoat.schedulers.aws_batch.fargate import fargate_size
from topcoat.schedulers.aws_batch.queue import Queue
from topcoat.specs import AppDef, BindMount, DeviceMount, Resource, Role, VolumeMount, named_resources

ON_FARGATE = {"execution_role_arn": EXECUTION_ROLE}


def resource(cpu: int = 2, gpu: int = 0, memory: int = 1024, **fields: Any) -> Resource:
    return Resource(cpu, gpu, memory, **fields)


def check(*roles: Role, queue: Queue = EC2, **values: Any) -> None:
    check_app(AppDef("train", list(roles)), options(**values), queue)


@pytest.mark.parametrize(
    ("roles", "queue", "values", "message"),
    [
        ([role(resource=resource(gpu=1))], FARGATE, ON_FARGATE, "asks for a GPU, which Fargate does not have"),
        ([role()], FARGATE, {}, "missing execution_role_arn: the job queue 'tasks' runs on Fargate"),
        ([role()], FARGATE, {**ON_FARGATE, "privileged": True}, "asks for privileged"),
        ([role()], FARGATE, {**ON_FARGATE, "ulimits": ["nofile:1:1"]}, "asks for ulimits"),
        ([role(mounts=[BindMount("/a", "/a")])], FARGATE, ON_FARGATE, "asks for mounts of the host"),
        ([role(mounts=[DeviceMount("/dev/a", "/a")])], FARGATE, ON_FARGATE, "asks for mounts of the host"),
        ([role(resource=named_resources["aws_m5.large"])], FARGATE, ON_FARGATE, "asks for the instance type m5.large"),
        ([role(replicas=2)], FARGATE, ON_FARGATE, "2 replicas, and the job queue 'tasks' runs on Fargate"),
        ([role(resource=resource(32))], FARGATE, ON_FARGATE, "32 vCPUs and 1024 MiB, and Fargate has at most 16"),
        ([role(str(n)) for n in range(6)], EC2, {}, "6 roles, and a multi-node job of AWS Batch has at most 5 node gr"),
        ([role(max_retries=10)], EC2, {}, "max_retries=10, and AWS Batch runs a job at most 10 times"),
        ([role(resource=resource(memory=0))], EC2, {}, "has no memory, and AWS Batch needs it"),
        ([role(env={"AWS_BATCH_X": "1"})], EC2, {}, "sets AWS_BATCH_X: AWS Batch reserves the names"),
        ([role(mounts=[BindMount("data", "/a")])], EC2, {}, "mounts 'data': expected an absolute path"),
        ([role(resource=resource(gpu=16))], EC2, {}, r"needs 2 vCPUs, 1024 MiB and 16 GPUs, and no instance type"),
        ([role(resource=resource(8000))], EC2, {}, "needs 8000 vCPUs, and the job queue 'gpus' has at most 4096"),
        ([role(replicas=100, resource=resource(96))], EC2, {}, "needs 9600 vCPUs"),
        (
            [role(resource=resource(memory=9_000_000))],
            EC2,
            {},
            r"no instance type of the job queue 'gpus' has that \(p4d",
        ),
        (
            [role(replicas=2, resource=named_resources["aws_m5.large"])],
            EC2,
            {},
            "needs the instance type m5.large, and the job queue 'gpus' has p4d.24xlarge, p5",
        ),
        (
            [
                role("a", resource=named_resources["aws_p4d.24xlarge"]),
                role("b", resource=named_resources["aws_p5.48xlarge"]),
            ],
            EC2,
            {},
            r"different instance types \(a: p4d.24xlarge, b: p5.48xlarge\)",
        ),
        ([role()], EC2, {"share_id": "x"}, "invalid share_id 'x': the job queue 'gpus' has no scheduling policy"),
        ([role()], Queue("q", has_policy=True), {}, "missing share_id: the job queue 'q' has a scheduling policy"),
    ],
)
def test_what_the_queue_cannot_run_is_an_error_before_anything_is_built(
    roles: list[Role], queue: Queue, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(TopcoatError, match=message):
        check(*roles, queue=queue, **values)


def test_what_the_queue_can_run_passes() -> None:
    check(role(resource=named_resources["aws_p5.48xlarge"], replicas=4))
    check(role(resource=named_resources["aws_p4d.24xlarge"]), role("b", resource=resource(cpu=-1)))
    check(role(resource=resource(gpu=99)), queue=Queue("q", instance_types=("p9.future",)))
    check(role(resource=resource(gpu=99)), queue=Queue("unmanaged"))
    check(role(resource=named_resources["aws_t3.medium"]), queue=Queue("q", instance_types=("optimal",)))
    check(role(mounts=[VolumeMount("fs-1", "/efs")]), queue=FARGATE, **ON_FARGATE)
    check(role(), queue=Queue("q", has_policy=True), share_id="x")


def test_a_list_of_general_types_has_no_gpu() -> None:
    with pytest.raises(TopcoatError, match=r"1 GPUs, and no instance type of the job queue 'q' has that \(optimal\)"):
        check(role(resource=resource(gpu=1)), queue=Queue("q", instance_types=("optimal",)))


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        (1, 2048, (1, 2048)),
        (0, 1, (1, 2048)),
        (2, 1024, (2, 4096)),
        (3, 1024, (4, 8192)),
        (1, 8193, (2, 9216)),
        (8, 16385, (8, 20480)),
        (16, 122880, (16, 122880)),
    ],
)
def test_a_role_gets_the_smallest_size_of_fargate_that_holds_it(
    cpu: int, memory: int, expected: tuple[int, int]
) -> None:
    assert fargate_size(role(resource=resource(cpu, memory=memory))) == expected


def test_a_notice_names_the_size_of_fargate_if_it_is_another_one() -> None:
    with recorded_notices() as notices:
        check(role(resource=resource(2, memory=4096)), queue=FARGATE, **ON_FARGATE)
        assert notices == []
        check(role(), queue=FARGATE, **ON_FARGATE)
    (text,) = notices
    assert "gets 2 vCPUs and 4096 MiB, the smallest size of Fargate" in text


def test_arm_processors_are_told_from_the_name() -> None:
    arm = [
        "a1.large",
        "m6g.large",
        "c7gn.xlarge",
        "g5g.xlarge",
        "x2gd.large",
        "is4gen.large",
        "hpc7g.4xlarge",
        "t4g.nano",
    ]
    x86 = ["g4dn.xlarge", "m5.large", "p5.48xlarge", "c7i-flex.large", "g6.xlarge", "trn1.2xlarge", "u-6tb1.metal"]
    assert [name for name in arm + x86 if is_arm(name)] == arm
