from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from topcoat.components import dist
from topcoat.components.finder import get_component
from topcoat.errors import InvalidComponent
from topcoat.specs import AppDef, Resource, Role, macros, materialize_appdef, resource
from topcoat.specs.signature import component_signature


def make(name: str, *words: str) -> tuple[AppDef, Role]:
    app = materialize_appdef(get_component(f"dist.{name}").fn, words)
    (role,) = app.roles
    return app, role


def torchrun_words(role: Role, tmp_path: Path, **env: str) -> list[str]:
    """Return the words that torchrun gets, by running *role* with a stand-in for it."""
    (tmp_path / "torchrun").write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n')
    (tmp_path / "torchrun").chmod(0o755)
    role = macros.Values("/", "app-1", "4", "HOST0").apply(role)
    done = subprocess.run(
        [role.entrypoint, *role.args],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_torchrun_on_one_node_uses_a_free_rendezvous_port(tmp_path: Path) -> None:
    app, role = make("torchrun", "--script", "dir/main.py", "--", "--lr", "a b")
    assert torchrun_words(role, tmp_path) == [
        *("--rdzv_endpoint", "localhost:0", "--rdzv_backend", "c10d", "--rdzv_id", "app-1"),
        *("--nnodes", "1", "--nproc_per_node", "2", "--tee", "3", "--role", ""),
        *("dir/main.py", "--lr", "a b"),
    ]
    assert (app.name, role.name, role.num_replicas, role.min_replicas) == ("main", "main", 1, 1)
    assert (role.port_map, role.resource) == ({"c10d": 29500}, Resource(2, 0, 1024))


def test_torchrun_on_several_nodes_uses_the_first_replica_for_rendezvous(tmp_path: Path) -> None:
    _, role = make("torchrun", "-j", "2:5x8", "-m", "pkg.train", "--rdzv_port=1234", "--rdzv_conf=timeout=6")
    words = torchrun_words(role, tmp_path, HOST0="node-a")
    assert words[:2] == ["--rdzv_endpoint", "node-a:1234"]
    assert words[2:6] == ["--rdzv_backend", "c10d", "--rdzv_conf", "timeout=6"]
    assert words[8:12] == ["--nnodes", "2:5", "--nproc_per_node", "8"]
    assert words[-2:] == ["-m", "pkg.train"]
    assert torchrun_words(role, tmp_path)[1] == "localhost:1234"
    assert (role.name, role.num_replicas, role.min_replicas) == ("train", 5, 2)


def test_a_scheduler_whose_jobs_share_nodes_chooses_the_default_rendezvous_port(tmp_path: Path) -> None:
    _, role = make("torchrun", "-j", "2x8", "-m", "train")
    assert torchrun_words(role, tmp_path)[1] == "localhost:29500"
    assert torchrun_words(role, tmp_path, HOST0="n1", TOPCOAT_RANK0_PORT="20007")[1] == "n1:20007"
    _, role = make("torchrun", "-j", "2x8", "-m", "train", "--rdzv_port=1234")
    assert torchrun_words(role, tmp_path, TOPCOAT_RANK0_PORT="20007")[1] == "localhost:1234"


def test_the_static_backend_gets_the_node_rank(tmp_path: Path) -> None:
    _, role = make("torchrun", "-j=2x1", "-m=a", "--rdzv_backend=static")
    words = torchrun_words(role, tmp_path)
    assert words[words.index("--node_rank") + 1] == "4"


@pytest.mark.parametrize(
    ("component", "words", "nodes", "processes"),
    [
        ("torchrun", ["-j=4"], 1, 4),
        ("torchrun", ["-j=2", "-h=gpu.large"], 2, 4),
        ("torchrun", ["-j=2x3", "-h=gpu.large"], 2, 3),
        ("ddp", ["-j=4"], 1, 4),
        ("ddp", ["-j=2", "-h=gpu.large"], 1, 2),
        ("ddp", ["-j=3x2"], 3, 2),
        ("spmd", [], 1, 1),
        ("spmd", ["-j=2", "-h=gpu.large"], 2, 4),
        ("spmd", ["-j=2x1"], 2, 1),
    ],
)
def test_j_sets_nodes_and_processes(component: str, words: list[str], nodes: int, processes: int) -> None:
    _, role = make(component, *words, "-m=a")
    command = shlex.split(role.args[1])
    assert (role.num_replicas, command[command.index("--nproc_per_node") + 1]) == (nodes, str(processes))


@pytest.mark.parametrize(
    ("component", "words", "message"),
    [
        ("torchrun", [], "exactly one of --script and -m"),
        ("torchrun", ["-m=a", "--script=b"], "exactly one of --script and -m"),
        ("torchrun", ["-m=a", "-j=2y3"], "invalid -j '2y3'"),
        ("torchrun", ["-m=a", "-j=0"], "invalid -j '0'"),
        ("torchrun", ["-m=a", "-j=0x1"], "invalid -j '0x1'"),
        ("torchrun", ["-m=a", "-j=3:2x1"], "invalid -j '3:2x1'"),
        ("torchrun", ["-m=a", "-j=2", "-h=cpu.small"], "cpu.small has no GPUs"),
        ("spmd", ["-m=a", "-j=2", "-h=aws_trn1.32xlarge"], "aws_trn1.32xlarge has no GPUs"),
    ],
)
def test_invalid_arguments_for_program_and_shape_are_errors(component: str, words: list[str], message: str) -> None:
    with pytest.raises(InvalidComponent, match=message):
        make(component, *words)


@pytest.mark.parametrize(
    ("name", "experiment", "run"),
    [
        ("/", "default-experiment", "main"),
        ("e/", "e", "main"),
        ("/r", "default-experiment", "r"),
        ("r", "default-experiment", "r"),
        ("e/r", "e", "r"),
        ("e/r/s", "e", "r/s"),
    ],
)
def test_a_name_is_split_into_experiment_and_run(name: str, experiment: str, run: str) -> None:
    app, role = make("torchrun", "--script=x/main.py", f"--name={name}")
    assert app.name == run
    assert role.env["TORCHX_TRACKING_EXPERIMENT_NAME"] == experiment
    assert role.env["TORCHX_TRACKING_RUN_NAME"] == run


def test_the_other_arguments_are_set_on_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLEVEL", "INFO")
    app, role = make(
        "ddp", "-m=a", "--env", "A=1,LOGLEVEL=DEBUG", "--metadata", "k=v", "--debug=True", "--max_retries=3",
        "--image=i", "--h=gpu.small", "--mounts=type=volume,src=v,dst=/v",
    )  # fmt: skip
    assert (app.metadata, role.image, role.max_retries) == ({"k": "v"}, "i", 3)
    assert (role.env["A"], role.env["LOGLEVEL"], role.env["NCCL_DESYNC_DEBUG"]) == ("1", "DEBUG", "1")
    assert role.resource == resource(h="gpu.small")
    assert make("ddp", "-m=a")[1].env["LOGLEVEL"] == "INFO"


def test_ddp_and_spmd_have_torchx_arguments_and_defaults() -> None:
    import inspect

    torchrun = inspect.signature(dist.torchrun).parameters
    assert inspect.signature(dist.ddp).parameters == torchrun
    spmd = inspect.signature(dist.spmd).parameters
    assert (spmd["h"].default, spmd["j"].default) == ("gpu.small", "1x1")
    assert spmd.keys() - {"args"} <= torchrun.keys()


def test_ddp_has_the_help_of_torchrun_and_its_own_for_j() -> None:
    ddp, torchrun = component_signature(dist.ddp), component_signature(dist.torchrun)
    assert ddp.description.startswith("Older name of dist.torchrun")
    help_ = {parameter.name: parameter.help for parameter in ddp.parameters}
    assert help_ == {
        **{parameter.name: parameter.help for parameter in torchrun.parameters},
        "j": "[[min_nodes:]nodes x]processes_per_node",
    }
    assert ddp.var_args_help == torchrun.var_args_help
