from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidApp
from topcoat.schedulers.local.request import PopenRequest, ReplicaParam, RoleStart, make_request, share_gpus
from topcoat.specs import AppDef, CfgVal, Resource, Role, Workspace, macros


def _start(role: Role) -> RoleStart:
    root = f"/root/{role.image}"

    def param(replica: Role, stdout: str, stderr: str, combined: str) -> ReplicaParam:
        return ReplicaParam([replica.entrypoint, *replica.args], replica.env, stdout, stderr, combined, root)

    return RoleStart(root, root, param)


def request(*roles: Role, cfg: Mapping[str, CfgVal] | None = None, gpus: int = 0) -> PopenRequest:
    return make_request(
        AppDef("x", list(roles)),
        cfg or {},
        backend="local",
        session_name="s",
        app_id="x-1",
        log_dir="/logs",
        start=_start,
        gpus=gpus,
    )


def gpu_role(name: str, replicas: int, gpus: int) -> Role:
    return Role(name, "i", entrypoint="e", num_replicas=replicas, resource=Resource(1, gpus, 1))


def test_macros_are_filled_in_for_each_replica() -> None:
    role = Role(
        "w",
        "img",
        entrypoint="sh",
        args=["-c", f"{macros.app_id} {macros.replica_id} {macros.img_root} $${macros.rank0_env}"],
        env={"ME": macros.replica_id},
        num_replicas=2,
    )
    first, second = request(role).role_params["w"]
    assert first.args == ["sh", "-c", "x-1 0 /root/img $TORCHX_RANK0_HOST"]
    assert second.args == ["sh", "-c", "x-1 1 /root/img $TORCHX_RANK0_HOST"]
    assert (first.env["ME"], second.env["ME"]) == ("0", "1")
    assert role.args[1].startswith("${app_id}")


def test_logs_are_stored_by_role_and_replica() -> None:
    made = request(Role("a", "i", entrypoint="e"), Role("b", "i", entrypoint="e", num_replicas=2))
    assert made.role_log_dirs == {"a": ["/logs/a/0"], "b": ["/logs/b/0", "/logs/b/1"]}
    replica = made.role_params["b"][1]
    assert (replica.stdout, replica.stderr) == ("/logs/b/1/stdout.log", "/logs/b/1/stderr.log")
    assert replica.combined == "/logs/b/1/combined.log"
    assert replica.env["TORCHELASTIC_ERROR_FILE"] == "/logs/b/1/error.json"


def test_the_roles_own_variables_override_topcoats() -> None:
    env = request(Role("w", "i", entrypoint="e", env={"TOPCOAT_RANK0_HOST": "me", "PYTHONUNBUFFERED": ""}))
    assert env.role_params["w"][0].env["TOPCOAT_RANK0_HOST"] == "me"
    assert env.role_params["w"][0].env["PYTHONUNBUFFERED"] == ""


def test_output_is_unbuffered_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    assert request(Role("w", "i", entrypoint="e")).role_params["w"][0].env["PYTHONUNBUFFERED"] == "1"
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    assert request(Role("w", "i", entrypoint="e")).role_params["w"][0].env["PYTHONUNBUFFERED"] == ""


@pytest.mark.parametrize(
    ("first", "own", "path"),
    [
        (False, {}, "/usr/bin:/root/i"),
        (True, {}, "/root/i:/usr/bin"),
        (False, {"PATH": "/own"}, "/own:/usr/bin:/root/i"),
        (True, {"PATH": "/own"}, "/root/i:/own:/usr/bin"),
    ],
)
def test_programs_of_the_working_directory_are_found(
    first: bool, own: dict[str, str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    made = request(Role("w", "i", entrypoint="e", env=own), cfg={"prepend_cwd": first})
    interpreter = str(Path(sys.executable).parent)
    assert made.role_params["w"][0].env["PATH"] == f"{path}:{interpreter}"


def test_a_workspace_does_not_hide_the_users_python_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    role = Role("w", "i", entrypoint="e", env={"PYTHONPATH": "/code"}, workspace=Workspace({"/x": ""}))
    assert request(role).role_params["w"][0].env["PYTHONPATH"] == "/code:/mine"
    alone = Role("w", "i", entrypoint="e", env={"PYTHONPATH": "/code"})
    assert request(alone).role_params["w"][0].env["PYTHONPATH"] == "/code"


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "a\0"])
def test_a_role_name_that_is_not_a_directory_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidApp, match="role name"):
        request(Role(name, "i", entrypoint="e"))


def test_gpus_are_distributed_in_order() -> None:
    made = request(gpu_role("a", 1, 2), gpu_role("cpu", 1, 0), gpu_role("b", 3, 1), gpus=8)
    visible = {
        (role, number): param.env.get("CUDA_VISIBLE_DEVICES")
        for role, params in made.role_params.items()
        for number, param in enumerate(params)
    }
    assert visible == {("a", 0): "0,1", ("cpu", 0): None, ("b", 0): "2", ("b", 1): "3", ("b", 2): "4"}


def test_too_few_gpus_are_not_distributed() -> None:
    assert share_gpus(AppDef("x", [gpu_role("a", 3, 4)]), 8) == {}


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-1, 4)), max_size=5), st.integers(0, 40))
def test_no_gpu_is_given_twice(roles: list[tuple[int, int]], gpus: int) -> None:
    app = AppDef("x", [gpu_role(str(number), *role) for number, role in enumerate(roles)])
    given = [number for share in share_gpus(app, gpus).values() for number in share["CUDA_VISIBLE_DEVICES"].split(",")]
    assert len(set(given)) == len(given)
    assert all(int(number) < gpus for number in given)


def test_a_dry_run_shows_what_would_be_run() -> None:
    shown = yaml.safe_load(str(request(Role("w", "i", entrypoint="python", args=["train.py"]))))
    assert shown["app_id"] == "x-1"
    assert shown["role_params"]["w"][0]["args"] == ["python", "train.py"]
