from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_aws_resources", ROOT / "scripts/gen_aws_resources.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(name: str, **more: Any) -> dict[str, Any]:
    base = {"InstanceType": name, "VCpuInfo": {"DefaultVCpus": 8}, "MemoryInfo": {"SizeInMiB": 16384}}
    return {**base, **more}


EFA = {"NetworkInfo": {"EfaInfo": {"MaximumEfaInterfaces": 4}}}


def gpus(maker: str, count: int) -> dict[str, Any]:
    return {"GpuInfo": {"Gpus": [{"Manufacturer": maker, "Count": count}]}}


@pytest.mark.parametrize(
    ("description", "row"),
    [
        (described("m9.large"), ("m9.large", 8, 0, 16384, 0, 0)),
        (described("m9.large", **EFA), ("m9.large", 8, 0, 16384, 0, 0)),
        (described("hpc9.large", **EFA), ("hpc9.large", 8, 0, 16384, 4, 0)),
        (described("p9.large", **EFA, **gpus("NVIDIA", 8)), ("p9.large", 8, 8, 16384, 4, 0)),
        (described("g9.large", **gpus("AMD", 1)), ("g9.large", 8, 0, 16384, 0, 0)),
        (
            described("trn9.large", NeuronInfo={"NeuronDevices": [{"Count": 16}]}, **EFA),
            ("trn9.large", 8, 0, 16384, 4, 16),
        ),
        (
            described("inf9.large", InferenceAcceleratorInfo={"Accelerators": [{"Count": 2}]}),
            ("inf9.large", 8, 0, 16384, 0, 2),
        ),
        (described("c5.18xlarge"), ("c5.18xlarge", 8, 0, 142 * 1024, 0, 0)),
    ],
)
def test_a_description_is_converted_into_a_row(script: ModuleType, description: dict[str, Any], row: object) -> None:
    assert script.row(description) == row


def test_both_file_formats_are_read(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"InstanceTypes": [described("m9.large")]}))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps({"m8.large": described("m8.large")}).encode()))
    descriptions = script.descriptions([str(tmp_path / "a.json"), str(tmp_path / "b.json.gz")])
    assert [item["InstanceType"] for item in descriptions] == ["m9.large", "m8.large"]


def test_the_shipped_table_has_the_format_that_the_script_writes(script: ModuleType) -> None:
    lines = script.TABLE.read_text(encoding="utf-8").splitlines()
    again = script.table(
        described(
            name,
            VCpuInfo={"DefaultVCpus": int(cpu)},
            MemoryInfo={"SizeInMiB": int(mib)},
            NetworkInfo={"EfaInfo": {"MaximumEfaInterfaces": int(efa)}},
            NeuronInfo={"NeuronDevices": [{"Count": int(neuron)}]},
            **gpus("NVIDIA", int(gpu)),
        )
        for name, cpu, gpu, mib, efa, neuron in (line.split("\t") for line in lines[1:])
    )
    assert again.splitlines() == lines
