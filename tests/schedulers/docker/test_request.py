from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from topcoat.schedulers.docker.request import (
    DockerContainer,
    DockerJob,
    app_state,
    container_name,
    container_state,
    make_job,
    why_failed,
)
from topcoat.specs import (
    AppDef,
    AppState,
    BindMount,
    CfgVal,
    DeviceMount,
    Resource,
    Role,
    VolumeMount,
    is_terminal,
    macros,
)
from topcoat.version import __version__


def job(*roles: Role, cfg: Mapping[str, CfgVal] | None = None, environ: Mapping[str, str] | None = None) -> DockerJob:
    return make_job(
        AppDef("x", list(roles)),
        cfg or {},
        backend="local_docker",
        session_name="s",
        app_id="x-1",
        environ=environ or {},
    )


def only(role: Role, **given: Any) -> DockerContainer:
    (container,) = job(role, **given).containers
    return container


def test_a_minimal_role_sets_few_arguments() -> None:
    assert only(Role("w", "base", entrypoint="python", args=["train.py"])) == DockerContainer(
        "base",
        ["python", "train.py"],
        {
            "name": "x-1-w-0",
            "hostname": "x-1-w-0",
            "network": "topcoat",
            "environment": {
                "TOPCOAT_APP_ID": "x-1",
                "TOPCOAT_ROLE": "w",
                "TOPCOAT_REPLICA_ID": "0",
                "TOPCOAT_NUM_REPLICAS": "1",
                "TOPCOAT_RANK0_HOST": "x-1-w-0",
                "TORCHX_JOB_ID": "local_docker://s/x-1",
                "TORCHX_IMAGE": "base",
                "TORCHX_RANK0_HOST": "x-1-w-0",
                "TORCHELASTIC_ERROR_FILE": "/tmp/topcoat-error.json",
            },
            "labels": {
                "dev.topcoat.app-id": "x-1",
                "dev.topcoat.app-name": "x",
                "dev.topcoat.role-name": "w",
                "dev.topcoat.replica-id": "0",
                "dev.topcoat.version": __version__,
                "dev.topcoat.keeps-entrypoint": "true",
            },
        },
    )


def test_every_replica_is_a_container_and_knows_the_first_one() -> None:
    made = job(Role("a", "i", entrypoint="e", num_replicas=2), Role("b", "j", entrypoint="e"))
    assert [container.kwargs["name"] for container in made.containers] == ["x-1-a-0", "x-1-a-1", "x-1-b-0"]
    assert {container.kwargs["environment"]["TOPCOAT_RANK0_HOST"] for container in made.containers} == {"x-1-a-0"}
    assert [container.image for container in made.containers] == ["i", "i", "j"]


def test_macros_are_filled_in() -> None:
    args = [f"{macros.app_id}/{macros.replica_id}", f"[{macros.img_root}]", f"$${macros.rank0_env}"]
    container = only(Role("w", "i", entrypoint="e", args=args, env={"ME": macros.replica_id}))
    assert container.command == ["e", "x-1/0", "[]", "$TORCHX_RANK0_HOST"]
    assert container.kwargs["environment"]["ME"] == "0"


def test_resources_are_limits() -> None:
    kwargs = only(Role("w", "i", entrypoint="e", resource=Resource(cpu=2, gpu=3, memMB=512))).kwargs
    assert kwargs["nano_cpus"] == 2_000_000_000
    assert (kwargs["mem_limit"], kwargs["shm_size"]) == ("512m", "512m")
    assert kwargs["device_requests"] == [{"count": 3, "capabilities": [["gpu"]]}]


@pytest.mark.parametrize("resource", [Resource(cpu=-1, gpu=-1, memMB=-1), Resource(cpu=0, gpu=0, memMB=0)])
def test_resources_that_are_not_set_are_not_limited(resource: Resource) -> None:
    kwargs = only(Role("w", "i", entrypoint="e", resource=resource)).kwargs
    assert not {"nano_cpus", "mem_limit", "shm_size", "device_requests"} & kwargs.keys()


def test_mounts_and_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    mounts = [
        BindMount("data", "/data", read_only=True),
        VolumeMount("cache", "/cache"),
        DeviceMount("/dev/null", "/dev/nothing", "r"),
    ]
    kwargs = only(Role("w", "i", entrypoint="e", mounts=mounts)).kwargs
    assert kwargs["mounts"] == [
        {"Type": "bind", "Source": f"{tmp_path}/data", "Target": "/data", "ReadOnly": True},
        {"Type": "volume", "Source": "cache", "Target": "/cache", "ReadOnly": False},
    ]
    assert kwargs["devices"] == ["/dev/null:/dev/nothing:r"]


def test_devices_of_a_resource_that_are_known_are_mounted(caplog: pytest.LogCaptureFixture) -> None:
    devices = {"vpc.amazonaws.com/efa": 2, "aws.amazon.com/neurondevice": 1, "example.org/other": 1}
    with caplog.at_level(logging.WARNING, "topcoat"):
        kwargs = only(Role("w", "i", entrypoint="e", resource=Resource(1, 0, 1, devices=devices))).kwargs
    assert kwargs["devices"] == [
        "/dev/infiniband/uverbs0:/dev/infiniband/uverbs0:rwm",
        "/dev/infiniband/uverbs1:/dev/infiniband/uverbs1:rwm",
        "/dev/neuron0:/dev/neuron0:rwm",
    ]
    assert "example.org/other" in caplog.text


def test_retries_and_ports_and_privileges() -> None:
    role = Role("w", "i", entrypoint="e", max_retries=2, port_map={"c10d": 29500})
    kwargs = only(role, cfg={"privileged": True}).kwargs
    assert kwargs["restart_policy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert kwargs["ports"] == {"29500/tcp": None}
    assert kwargs["privileged"] is True


def test_env_overrides_the_roles_variables_which_override_copied_ones() -> None:
    environ = {"FOO_A": "copied", "FOO_B": "copied", "FOO_C": "copied", "OTHER": "x", "TOPCOAT_ROLE": "outer"}
    cfg: dict[str, CfgVal] = {"copy_env": ["FOO_*", "TOPCOAT_*"], "env": {"FOO_C": "run", "TORCHX_IMAGE": "run"}}
    role = Role("w", "i", entrypoint="e", env={"FOO_B": "role", "FOO_C": "role"})
    env = only(role, cfg=cfg, environ=environ).kwargs["environment"]
    assert (env["FOO_A"], env["FOO_B"], env["FOO_C"]) == ("copied", "role", "run")
    assert (env["TOPCOAT_ROLE"], env["TORCHX_IMAGE"]) == ("w", "run")
    assert "OTHER" not in env


@given(st.text(), st.text(), st.integers(0, 99_999))
def test_names_are_valid_for_engines_and_dns(app_id: str, role: str, replica_id: int) -> None:
    name = container_name(app_id, role, replica_id)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*-\d+", name)
    assert name.endswith(f"-{replica_id}")
    assert len(name) <= 63


def test_long_names_keep_what_tells_them_apart() -> None:
    names = {container_name(f"{'x' * 80}-{end}", "r" * 80 + tail, 3) for end in "ab" for tail in "cd"}
    assert len(names) == 4


def test_a_dry_run_shows_what_would_be_run() -> None:
    shown = yaml.safe_load(str(job(Role("w", "base", entrypoint="python", args=["train.py"]))))
    assert shown["containers"][0]["command"] == ["python", "train.py"]


def container(status: str, exit_code: int = 0, policy: str = "no", **state: Any) -> dict[str, Any]:
    return {
        "State": {"Status": status, "ExitCode": exit_code, **state},
        "HostConfig": {"RestartPolicy": {"Name": policy}},
    }


@pytest.mark.parametrize(
    ("attrs", "state"),
    [
        (container("created"), AppState.SUBMITTED),
        (container("running"), AppState.RUNNING),
        (container("restarting", 1), AppState.PENDING),
        (container("paused"), AppState.PENDING),
        (container("removing"), AppState.PENDING),
        (container("dead"), AppState.FAILED),
        (container("exited"), AppState.SUCCEEDED),
        (container("exited", 3), AppState.FAILED),
        (container("exited", 137, "unless-stopped"), AppState.CANCELLED),
        (container("exited", 0, "unless-stopped"), AppState.CANCELLED),
        (container("stopped", 0), AppState.SUCCEEDED),
        (container("something new"), AppState.UNKNOWN),
    ],
)
def test_the_state_of_a_container_follows_from_its_inspection(attrs: dict[str, Any], state: AppState) -> None:
    assert container_state(attrs) is state


S, P, R, D, F, C = (
    AppState.SUBMITTED,
    AppState.PENDING,
    AppState.RUNNING,
    AppState.SUCCEEDED,
    AppState.FAILED,
    AppState.CANCELLED,
)


@pytest.mark.parametrize(
    ("states", "state"),
    [([D, D], D), ([D, F], F), ([F, C], C), ([D, R, F], R), ([S, P], P), ([S, D], S), ([S, R, P], R)],
)
def test_the_state_of_an_application_follows_from_its_containers(states: list[AppState], state: AppState) -> None:
    assert app_state(states) is state


@given(st.lists(st.sampled_from(AppState), min_size=1))
def test_an_application_has_ended_when_all_its_containers_have(states: list[AppState]) -> None:
    known_states = [state for state in states if state is not AppState.UNSUBMITTED] or [R]
    assert is_terminal(app_state(known_states)) == all(is_terminal(state) for state in known_states)


@pytest.mark.parametrize(
    ("attrs", "why"),
    [
        (container("exited", 3), "ended with exit code 3"),
        (container("exited", 139), "was killed by SIGSEGV (exit code 139)"),
        (container("exited", 255), "ended with exit code 255"),
        (container("exited", 137, OOMKilled=True), "ran out of memory"),
        (container("exited", 127, Error="no such file"), "could not run: no such file"),
    ],
)
def test_a_failure_is_described(attrs: dict[str, Any], why: str) -> None:
    assert why_failed(attrs) == why


def test_the_command_goes_to_the_images_entrypoint_or_replaces_it() -> None:
    role = Role("w", "i", entrypoint="python", args=["train.py"])
    kept, replaced = (only(role, cfg={"image_entrypoint": value}) for value in ("keep", "replace"))
    assert (kept.command, kept.kwargs.get("entrypoint")) == (["python", "train.py"], None)
    assert (replaced.command, replaced.kwargs["entrypoint"]) == (["train.py"], ["python"])
    assert replaced.kwargs["labels"]["dev.topcoat.keeps-entrypoint"] == "false"
