"""Requests for the tests, and botocore's own model of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from topcoat.schedulers.aws_batch.options import AWSBatchOpts
from topcoat.schedulers.aws_batch.queue import Kind, Queue
from topcoat.schedulers.aws_batch.request import BatchJob, make_job
from topcoat.specs import AppDef, Resource, Role

EC2 = Queue("gpus", instance_types=("p4d.24xlarge", "p5"), max_vcpus=4096)
FARGATE = Queue("tasks", Kind.FARGATE)
EXECUTION_ROLE = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"


def role(name: str = "trainer", replicas: int = 1, **fields: Any) -> Role:
    """Return a role that runs ``python train.py``."""
    values: dict[str, Any] = {
        "entrypoint": "python",
        "args": ["train.py"],
        "resource": Resource(cpu=2, gpu=0, memMB=1024),
        **fields,
    }
    return Role(name, "registry.example.com/app:1", num_replicas=replicas, **values)


def options(**values: Any) -> AWSBatchOpts:
    """Return run options."""
    return AWSBatchOpts(**{"queue": "gpus", "user": "ada", **values})


def job(*roles: Role, queue: Queue = EC2, name: str = "train-x1", **values: Any) -> BatchJob:
    """Return the requests for an application of *roles*, after botocore's check of them."""
    app = AppDef("train", list(roles or [role()]), values.pop("metadata", {}))
    platforms = values.pop("platforms", {})
    made = make_job(
        app,
        options(**values),
        queue,
        backend="aws_batch",
        session_name="s",
        name=name,
        platforms=platforms,
    )
    validate(made)
    return made


@cache
def _model() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("batch")


def validate(made: BatchJob) -> None:
    """Check both requests against botocore's model."""
    from botocore.validate import ParamValidator

    for operation, request in (
        ("RegisterJobDefinition", made.job_def),
        ("SubmitJob", {**made.submission, "jobDefinition": "x"}),
    ):
        report = ParamValidator().validate(request, _model().operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
        _check_enums(request, _model().operation_model(operation).input_shape, operation)


def _check_enums(value: Any, shape: Any, where: str) -> None:
    """Check what botocore itself leaves to the service: values of enumerations."""
    if shape.type_name == "structure":
        for name, item in value.items():
            _check_enums(item, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for item in value:
            _check_enums(item, shape.member, where)
    elif getattr(shape, "enum", None):
        assert value in shape.enum, f"{where}: {value}"
