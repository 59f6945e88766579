from __future__ import annotations

import pytest

from topcoat.errors import UnknownResource
from topcoat.specs import Resource, named_resources
from topcoat.specs import named_resources_aws as aws


@pytest.mark.parametrize(
    ("name", "cpu", "gpu", "memory", "devices"),
    [
        ("aws_t3.medium", 2, 0, 4 * 983, {}),
        ("aws_c5.18xlarge", 72, 0, 142 * 983, {}),
        ("aws_p3.8xlarge", 32, 4, 244 * 983, {}),
        ("aws_p5.48xlarge", 192, 8, 2048 * 983, {"vpc.amazonaws.com/efa": 32}),
        (
            "aws_trn1.32xlarge",
            128,
            0,
            512 * 983,
            {"vpc.amazonaws.com/efa": 8, "aws.amazon.com/neurondevice": 16},
        ),
    ],
)
def test_aws_resources_equal_torchx_resources(
    name: str, cpu: int, gpu: int, memory: int, devices: dict[str, int]
) -> None:
    resource = named_resources[name]
    assert resource == Resource(
        cpu=cpu,
        gpu=gpu,
        memMB=memory,
        capabilities={"node.kubernetes.io/instance-type": name.removeprefix("aws_")},
        devices=devices,
    )
    assert aws.instance_type_from_resource(resource) == name.removeprefix("aws_")


def test_every_aws_resource_has_cpus_and_memory() -> None:
    names = [name for name in named_resources if name.startswith("aws_")]
    assert len(names) > 1000
    assert all(named_resources[name].cpu > 0 and named_resources[name].memMB > 0 for name in names)


def test_aws_resources_have_torchx_functions_and_mapping() -> None:
    assert aws.aws_m5_2xlarge() == named_resources["aws_m5.2xlarge"]  # type: ignore[operator]
    assert aws.NAMED_RESOURCES["aws_p6-b200.48xlarge"]() == aws.aws_p6_b200_48xlarge()  # type: ignore[index,operator]
    with pytest.raises(AttributeError):
        aws.aws_no_such_type()  # type: ignore[operator]
    with pytest.raises(UnknownResource, match=r"p9\.large"):
        aws.instance_resource("p9.large")
