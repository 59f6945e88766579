"""AWS instance types as resources, ``aws_<type>``, from the table that ``scripts/gen_aws_resources.py`` writes.

A row has: name, CPUs, GPUs, MiB of memory, EFA interfaces, Neuron devices. The capabilities of each resource name its
instance type, so that a scheduler can request that type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

from topcoat.errors import UnknownResource
from topcoat.specs.resources import Resource

EFA_DEVICE = "vpc.amazonaws.com/efa"
NEURON_DEVICE = "aws.amazon.com/neurondevice"
K8S_ITYPE = "node.kubernetes.io/instance-type"

# TorchX's figure: the system reserves part of each GiB, and AWS Batch never starts a job that requests all of it.
MIB_PER_GIB = 983


@cache
def _table() -> dict[str, tuple[int, int, int, int, int]]:
    from importlib.resources import files

    text = files(__package__).joinpath("aws_instance_types.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {name: (int(cpu), int(gpu), int(mib), int(efa), int(neuron)) for name, cpu, gpu, mib, efa, neuron in rows}


def instance_resource(instance_type: str) -> Resource:
    """Return a new resource for *instance_type*, such as ``p5.48xlarge``, or raise ``UnknownResource``."""
    try:
        cpu, gpu, mib, efa, neuron = _table()[instance_type]
    except KeyError:
        raise UnknownResource(f"unknown AWS instance type {instance_type!r}") from None
    devices = {name: count for name, count in ((EFA_DEVICE, efa), (NEURON_DEVICE, neuron)) if count}
    memory = mib * MIB_PER_GIB // 1024
    return Resource(cpu=cpu, gpu=gpu, memMB=memory, capabilities={K8S_ITYPE: instance_type}, devices=devices)


def instance_type_from_resource(resource: Resource) -> str | None:
    """Return the instance type that *resource* requests, or ``None``."""
    return resource.capabilities.get(K8S_ITYPE)


@cache
def named_resources() -> Mapping[str, Callable[[], Resource]]:
    """Return a function that creates the resource for each ``aws_<type>`` of the table."""
    return {f"aws_{name}": partial(instance_resource, name) for name in _table()}


def __getattr__(name: str) -> object:
    """Provide TorchX's ``NAMED_RESOURCES`` and one function per type (``aws_p5_48xlarge``), on demand."""
    if name == "NAMED_RESOURCES":
        return named_resources()
    if name.startswith("aws_"):
        for key, factory in named_resources().items():
            if key.replace(".", "_").replace("-", "_") == name:
                return factory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
