"""The requests, checked against AWS's model and the files in ``golden``; ``WRITE_GOLDEN=1`` writes the files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.schedulers.aws_batch.requests import EXECUTION_ROLE, FARGATE, job, role
from topcoat.components.dist import ddp
from topcoat.schedulers.aws_batch import request
from topcoat.schedulers.aws_batch.request import BatchJob, set_images
from topcoat.specs import BindMount, DeviceMount, Resource, VolumeMount, macros, named_resources

GOLDEN = Path(__file__).parent / "golden"
DIGEST = f"registry.example.com/app:1@sha256:{'a' * 64}"


def one_node() -> BatchJob:
    made = job(role(env={"A": "1"}, max_retries=2), timeout=3600, tags={"team": "vision"}, metadata={"run": "7"})
    set_images(made, {"trainer": DIGEST})
    return made


def every_option() -> BatchJob:
    full = role(
        resource=Resource(cpu=8, gpu=2, memMB=32000, devices={"vpc.amazonaws.com/efa": 1}),
        mounts=[
            BindMount("/data", "/data", read_only=True),
            VolumeMount("fs-123", "/efs"),
            VolumeMount("fs-123:/sub", "/sub"),
            DeviceMount("/dev/fuse", "/dev/fuse", "rw"),
        ],
        args=["--id", macros.app_id, "--replica", macros.replica_id],
        env={"RANK0": f"{macros.rank0_env}", "NAME": macros.app_id},
    )
    return job(
        full,
        privileged=True,
        share_id="team",
        priority=5,
        job_role_arn="arn:aws:iam::123456789012:role/job",
        execution_role_arn=EXECUTION_ROLE,
        ulimits=["nofile:1024:2048", "memlock:-1:-1"],
        log_options={"awslogs-group": "train", "awslogs-stream-prefix": "x"},
    )


def fargate() -> BatchJob:
    small = role(resource=Resource(cpu=2, gpu=0, memMB=1024))
    return job(
        small,
        queue=FARGATE,
        execution_role_arn=EXECUTION_ROLE,
        assign_public_ip=True,
        platforms={"trainer": "linux/arm64"},
    )


def two_roles() -> BatchJob:
    reader = role("reader", 2, args=["read.py", f"--part={macros.replica_id}", "it's"], max_retries=1)
    return job(role("trainer", env={"PART": f"<{macros.replica_id}>"}), reader)


def ddp_on_named_resources() -> BatchJob:
    app = ddp(script="train.py", image="registry.example.com/torch:1", h="aws_p5.48xlarge", j="4x8", name="exp/run")
    made = job(*app.roles)
    assert named_resources["aws_p5.48xlarge"].gpu == 8
    return made


@pytest.mark.parametrize("make", [one_node, every_option, fargate, two_roles, ddp_on_named_resources])
def test_the_requests_are_those_of_the_golden_file(
    make: Callable[[], BatchJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "__version__", "0")
    monkeypatch.delenv("LOGLEVEL", raising=False)
    made = make()
    file = GOLDEN / f"{make.__name__}.yaml"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(str(made))
    assert yaml.safe_load(str(made)) == yaml.safe_load(file.read_text())
