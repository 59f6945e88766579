from __future__ import annotations

import dataclasses

import pytest

from topcoat.specs import MISSING, NULL_RESOURCE, AppDef, AppDryRunInfo, CfgVal, RetryPolicy, Role, Workspace, macros


def test_roles_and_applications_have_torchx_fields_in_torchx_order() -> None:
    assert [field.name for field in dataclasses.fields(Role)] == [
        "name",
        "image",
        "min_replicas",
        "entrypoint",
        "args",
        "env",
        "num_replicas",
        "max_retries",
        "retry_policy",
        "resource",
        "port_map",
        "metadata",
        "mounts",
        "workspace",
        "overrides",
    ]
    assert [field.name for field in dataclasses.fields(AppDef)] == ["name", "roles", "metadata"]


def test_roles_and_applications_have_torchx_defaults() -> None:
    role = Role("trainer", "img")
    assert (role.entrypoint, role.args, role.env, role.num_replicas, role.max_retries) == (
        MISSING,
        [],
        {},
        1,
        0,
    )
    assert (role.retry_policy, role.resource, role.mounts) == (RetryPolicy.APPLICATION, NULL_RESOURCE, [])
    assert (role.min_replicas, role.workspace, role.port_map, role.metadata) == (None, None, {}, {})
    assert AppDef("a") == AppDef("a", roles=[], metadata={})


def test_a_retry_policy_equals_its_string() -> None:
    assert [RetryPolicy(name) for name in ("REPLICA", "APPLICATION", "ROLE")] == list(RetryPolicy)
    assert RetryPolicy.ROLE == "ROLE"


def test_overrides_are_applied_once_when_the_role_is_created() -> None:
    calls: list[str] = []

    def image() -> str:
        calls.append("called")
        return "late:1"

    role = Role("a", "early:1", overrides={"image": image, "entrypoint": "sh"})
    assert (role.image, role.entrypoint, calls) == ("late:1", "sh", ["called"])
    assert dataclasses.replace(role, image="other:1").image == "other:1"
    assert calls == ["called"]


def test_pre_proc_of_a_subclass_can_replace_the_request() -> None:
    class Louder(Role):
        def pre_proc(self, scheduler: str, dryrun_info: AppDryRunInfo[str]) -> AppDryRunInfo[str]:
            return AppDryRunInfo(dryrun_info.request + scheduler, str.upper)

    info = AppDryRunInfo("request ", str)
    assert Role("a", "b").pre_proc("local", info) is info
    assert repr(Louder("a", "b").pre_proc("local", info)) == "REQUEST LOCAL"


def test_roles_with_equal_fields_and_equal_workspaces_are_equal() -> None:
    assert Role("a", "b", workspace=Workspace({"x": ""})) == Role("a", "b", workspace=Workspace({"x": ""}))
    assert Role("a", "b", workspace=Workspace({"x": ""})) != Role("a", "b")


def test_printing_a_dry_run_shows_its_request() -> None:
    info = AppDryRunInfo({"cmd": "ls"}, lambda request: f"run {request['cmd']}")
    assert (repr(info), str(info), info.request) == ("run ls", "run ls", {"cmd": "ls"})


def test_a_dry_run_has_the_application_options_and_scheduler_after_they_are_set() -> None:
    info = AppDryRunInfo(1, str)
    assert (info.app, dict(info.cfg), info.scheduler) == (None, {}, None)
    info._app, info._cfg, info._scheduler = AppDef("a"), {"k": 1}, "local"
    assert (info.app, dict(info.cfg), info.scheduler) == (AppDef("a"), {"k": 1}, "local")


def test_a_dry_run_accepts_one_or_two_type_parameters_and_its_attributes_can_be_set() -> None:
    assert AppDryRunInfo[str, dict[str, CfgVal]] != AppDryRunInfo[str]
    info: AppDryRunInfo[int, dict[str, CfgVal]] = AppDryRunInfo(1, str)
    options: dict[str, CfgVal] = {"k": 1}
    info.app, info.cfg = AppDef("a"), options
    assert info.cfg is options
    assert (info._app, info._cfg) == (AppDef("a"), options)


def test_a_role_of_an_application_is_found_by_its_name() -> None:
    app = AppDef("a", [Role("x", "i"), Role("y", "i")])
    assert app["y"] is app.get_role("y") is app.roles[1]
    assert ("x" in app, "z" in app, app.roles[0] in app) == (True, False, False)
    with pytest.raises(KeyError, match="the application 'a' has no role 'z'") as caught:
        app["z"]
    assert caught.value.hint == "it has x, y"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        iter(app)  # type: ignore[call-overload]


def test_names_of_torchx_0_7_are_accepted() -> None:
    assert Role("a", "b", base_image="c") == Role("a", "b")
    assert dataclasses.replace(Role("a", "b"), name="c") == Role("c", "b")
    assert RetryPolicy("HOT_SPARE") is RetryPolicy.HOT_SPARE is RetryPolicy.APPLICATION
    values = macros.Values(img_root="/i", app_id="1", replica_id="0", rank0_env="R", base_img_root="/b")
    assert values.apply(Role("a", "b", args=[macros.base_img_root])).args == ["/b"]
