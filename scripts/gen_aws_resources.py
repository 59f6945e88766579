#!/usr/bin/env python
"""Write ``src/topcoat/specs/aws_instance_types.tsv`` from AWS's descriptions of its instance types.

    scripts/gen_aws_resources.py                      query EC2 (boto3, with credentials and region of the environment)
    scripts/gen_aws_resources.py types.json[.gz] ...  read the output of `aws ec2 describe-instance-types`

Types differ by region: give one file for each region; for each type, the first file that has it is used. A file may
also be a JSON object of type name to description, such as ``moto/ec2/resources/instance_types.json.gz`` of moto.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent.parent / "src/topcoat/specs/aws_instance_types.tsv"
HEADER = "# type\tcpu\tgpu\tMiB\tefa\tneuron (written by scripts/gen_aws_resources.py)"

Row = tuple[str, int, int, int, int, int]

# Public types that only a few regions offer.
RARE_TYPES: tuple[Row, ...] = (
    ("p3.2xlarge", 8, 1, 61 * 1024, 0, 0),
    ("p3.8xlarge", 32, 4, 244 * 1024, 0, 0),
    ("p3.16xlarge", 64, 8, 488 * 1024, 0, 0),
    ("p6e-gb200.36xlarge", 144, 4, 960 * 1024, 16, 0),
)
# TorchX declares less than these types have, and the queues of its users are configured for that.
MIB = {"c5.18xlarge": 142 * 1024}
EFA = {"g6e.8xlarge": 0, "g6e.12xlarge": 0, "g6e.16xlarge": 0}
# Missing from the description.
NEURON = {"trn2u.48xlarge": 16}


def descriptions(arguments: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the description of every instance type."""
    if not arguments:
        import boto3

        for page in boto3.client("ec2").get_paginator("describe_instance_types").paginate():
            yield from page["InstanceTypes"]
    for argument in arguments:
        data = Path(argument).read_bytes()
        loaded = json.loads(gzip.decompress(data) if argument.endswith(".gz") else data)
        yield from loaded["InstanceTypes"] if "InstanceTypes" in loaded else loaded.values()


def row(description: dict[str, Any]) -> Row:
    """Return name, CPUs, NVIDIA GPUs, MiB of memory, EFA interfaces, Neuron devices."""
    name = description["InstanceType"]
    gpus = description.get("GpuInfo", {}).get("Gpus", [])
    # Schedulers treat GPUs of other vendors as other devices, and cannot assign a part of a GPU.
    gpu = sum(gpu.get("Count", 0) for gpu in gpus if gpu.get("Manufacturer") == "NVIDIA")
    neurons = description.get("NeuronInfo", {}).get("NeuronDevices", [])
    neurons = neurons or description.get("InferenceAcceleratorInfo", {}).get("Accelerators", [])
    neuron = NEURON.get(name, sum(device.get("Count", 0) for device in neurons))
    efa = EFA.get(name, description.get("NetworkInfo", {}).get("EfaInfo", {}).get("MaximumEfaInterfaces", 0))
    if not (gpu or neuron or name.startswith("hpc")):
        efa = 0  # Rarely wanted on these types, and a cluster without EFA would never start the job.
    mib = MIB.get(name, description["MemoryInfo"]["SizeInMiB"])
    return name, description["VCpuInfo"]["DefaultVCpus"], gpu, mib, efa, neuron


def table(described: Iterable[dict[str, Any]]) -> str:
    """Return the table's text, sorted by family and then by size."""
    rows: dict[str, Row] = {}
    for values in (*map(row, described), *RARE_TYPES):
        rows.setdefault(values[0], values)
    ordered = sorted(rows.values(), key=lambda values: (values[0].split(".")[0], values[1], values[3], values[0]))
    return "\n".join([HEADER, *("\t".join(map(str, values)) for values in ordered), ""])


if __name__ == "__main__":
    TABLE.write_text(table(descriptions(sys.argv[1:])), encoding="utf-8")
