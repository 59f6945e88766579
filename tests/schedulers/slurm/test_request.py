"""The request of a job: the command line of sbatch and the scripts, compared with golden files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from topcoat.errors import InvalidApp, InvalidRunConfigException
from topcoat.schedulers.slurm.files import JobFiles
from topcoat.schedulers.slurm.images import RoleImages
from topcoat.schedulers.slurm.request import SlurmBatchRequest, SlurmReplicaRequest, check_app, make_request
from topcoat.schedulers.slurm.script import JOB_ID, quote
from topcoat.schedulers.slurm.site import LocalSite
from topcoat.specs import AppDef, BindMount, CfgVal, Resource, RetryPolicy, Role, VolumeMount, Workspace

GOLDEN = Path(__file__).with_name("golden")
FILES = JobFiles("/shared/jobs/train-x/.topcoat")
CODE = "/shared/jobs/train-x/code"


def role(**fields: Any) -> Role:
    """Return a role whose snapshot was delivered to CODE."""
    values = {
        "name": "train",
        "image": CODE,
        "entrypoint": "python",
        "args": ["train.py", "--id=${app_id}-${replica_id}"],
        "env": {"WORKSPACE_DIR": CODE, "PYTHONPATH": CODE},
        "resource": Resource(cpu=8, gpu=2, memMB=64000),
        "workspace": Workspace({"/ws": ""}),
        **fields,
    }
    return Role(**values)


def in_container(**fields: Any) -> Role:
    """Return a role whose snapshot is mounted at /workspace."""
    env = {"WORKSPACE_DIR": "/workspace", "PYTHONPATH": "/workspace"}
    mounts = [BindMount("/data", "/data", read_only=True), BindMount(CODE, "/workspace")]
    image = "registry.example.com/team/base:1"
    return role(**{"image": image, "env": env, "mounts": mounts, **fields})


def request(*roles: Role, **cfg: CfgVal) -> SlurmBatchRequest:
    images = RoleImages(LocalSite(), cfg)
    places = {each.name: images.place(each, FILES) for each in roles}
    app = AppDef("train", list(roles))
    return make_request(app, cfg, backend="slurm", session_name="s", files=FILES, places=places)


def assert_golden(name: str, text: str) -> None:
    assert text == (GOLDEN / name).read_text()


CASES: dict[str, tuple[list[Role], dict[str, CfgVal]]] = {
    "one_role": ([role(num_replicas=2, max_retries=3)], {"partition": "gpu", "time": "2:00:00", "mail-user": "me"}),
    "two_roles": ([role(), role(name="eval", num_replicas=2, resource=Resource(1, 0, 100))], {"comment": "a 'b' $c"}),
    "pyxis": ([in_container(num_replicas=2)], {"container": "pyxis"}),
    "pyxis_digest": (
        [in_container(image=f"registry.example.com:5000/team/base:1@sha256:{'a' * 64}")],
        {"container": "pyxis"},
    ),
    "apptainer": ([in_container(num_replicas=2)], {"container": "apptainer"}),
    "apptainer_file": (
        [in_container(image="/images/base.sif", resource=Resource(1, 0, 100))],
        {"container": "apptainer"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_request_is_the_golden_one(case: str) -> None:
    roles, cfg = CASES[case]
    assert_golden(f"{case}.txt", str(request(*roles, **cfg)).replace(JOB_ID, "${app_id}") + "\n")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("script", ["materialize", "replica_script"])
def test_the_scripts_are_valid(case: str, script: str) -> None:
    roles, cfg = CASES[case]
    shell = "bash" if script == "materialize" else "sh"
    text = getattr(request(*roles, **cfg), script)()
    subprocess.run([shell, "-n"], input=text.encode(), check=True)


@pytest.mark.parametrize(
    "text", ["", "a b", "'", '"', "$HOME", "`id`", "\\", "\n", "é", "-n", "!", "*", "a'b\"c", f"x{JOB_ID}y{JOB_ID}"]
)
def test_a_word_reaches_the_program_as_it_is(text: str) -> None:
    command = ["sh", "-c", f"SLURM_JOB_ID=7; printf %s {quote(text)}"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == text.replace(JOB_ID, "7")


def test_a_percent_sign_in_the_directory_is_no_pattern_of_slurm() -> None:
    files = JobFiles("/w/100%j/.topcoat")
    place = RoleImages(LocalSite(), {}).place(role(), files)
    app = AppDef("a", [role()])
    made = make_request(app, {}, backend="slurm", session_name="s", files=files, places={"train": place})
    assert "--output=/w/100%%j/.topcoat/logs/slurm.log" in made.command()
    assert "--chdir=/w/100%j/.topcoat" in made.command()


def test_replicas_that_restart_alone_do_not_restart_the_job() -> None:
    policy = RetryPolicy.REPLICA
    made = request(role(max_retries=2, retry_policy=policy), role(name="b", max_retries=3))
    assert [(group.restarts, group.replica_restarts) for group in made.roles] == [(0, 2), (3, 0)]


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ([role(name="a/b")], "invalid role name 'a/b'"),
        ([role(name="a\nb")], "invalid role name"),
        ([role(name="ü" * 101)], "has more than 200 bytes"),
        ([role(name=".topcoat")], "invalid role name"),
        ([role(name=".hidden")], "invalid role name '.hidden'"),
        ([role(args=["a\0b"])], "NUL"),
        ([role(env={"a=b": "c"})], "invalid name of a variable"),
        ([role(mounts=[BindMount("/a", "/b")])], "has mounts"),
        (
            [role(retry_policy=RetryPolicy.ROLE, max_retries=1), role(name="b")],
            "restarts whole jobs or single replicas",
        ),
    ],
)
def test_what_slurm_cannot_run_is_refused(roles: list[Role], words: str) -> None:
    with pytest.raises(InvalidApp, match=words):
        check_app(AppDef("a", roles))


def test_gpus_are_requested_in_one_way() -> None:
    with pytest.raises(InvalidRunConfigException, match="gres requests GPUs too"):
        request(role(), gres="lustre:1,gpu:a100:2")
    assert "--gres=lustre:1" in request(role(), gres="lustre:1").command()


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (VolumeMount("data", "/data"), "bind mounts only"),
        (BindMount("/a:b", "/b"), "no way to write"),
        (BindMount("/a,b", "/b"), "no way to write"),
    ],
)
@pytest.mark.parametrize("container", ["pyxis", "apptainer"])
def test_a_mount_that_a_runtime_cannot_express_is_refused(container: str, mount: Any, words: str) -> None:
    with pytest.raises(InvalidApp, match=words):
        request(in_container(mounts=[mount]), container=container)


@pytest.mark.parametrize("cfg", [{"gres": "gpu:a100:2"}, {"sbatch": ["--gpus=2"]}])
def test_apptainer_gets_the_gpus_that_any_option_asks_for(cfg: dict[str, CfgVal]) -> None:
    without = in_container(resource=Resource(1, 0, 100))
    assert "--nv" in request(without, container="apptainer", **cfg).replica_script()
    assert "--nv" not in request(without, container="apptainer").replica_script()


def test_a_mounted_file_must_exist_as_a_snapshot_must(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    mounts = [BindMount(str(tmp_path / "token"), "/token"), BindMount(str(tmp_path / "gone"), "/gone")]
    script = request(in_container(mounts=mounts), container="pyxis").materialize()
    checks = [line for line in script.splitlines() if line.startswith("[ -e /")]
    done = subprocess.run(
        ["sh", "-c", "fail() { echo $1; }\n" + "\n".join(checks)], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"the directory or file {tmp_path}/gone does not exist\n"


def test_a_replica_alone_has_torchxs_form() -> None:
    alone = SlurmReplicaRequest.from_role("train-0", role(args=["a b"]), {"partition": "gpu"}, nomem=True)
    assert alone.materialize() == (
        [
            *("--job-name=train-0", "--partition=gpu", "--nodes=1", "--ntasks=1", "--ntasks-per-node=1"),
            *("--cpus-per-task=8", "--gpus-per-node=2"),
        ],
        ["--nodes=1", "--ntasks=1", "--ntasks-per-node=1", "--cpus-per-task=8", "python", "'a b'"],
    )
    inside = SlurmReplicaRequest.from_role("train-0", role(), {}, nomem=False, container_image="base:1")
    assert inside.srun_opts["container-image"] == "base:1"
    assert inside.sbatch_opts["mem"] == "64000M"


@pytest.mark.parametrize("container", ["pyxis", "apptainer"])
@pytest.mark.parametrize("image", ["./base.sif", "../images/base.sif"])
def test_the_relative_path_of_an_image_is_refused(container: str, image: str) -> None:
    with pytest.raises(InvalidApp, match=r"a relative path, and the job runs in another directory"):
        request(in_container(image=image), container=container)
