from __future__ import annotations

import dataclasses

from topcoat.specs import MISSING, NULL_RESOURCE, AppDef, AppDryRunInfo, RetryPolicy, Role, Workspace


def test_fields_are_torchx_s_in_its_order() -> None:
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


def test_defaults_are_torchx_s() -> None:
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


def test_retry_policies_are_strings() -> None:
    assert [RetryPolicy(name) for name in ("REPLICA", "APPLICATION", "ROLE")] == list(RetryPolicy)
    assert RetryPolicy.ROLE == "ROLE"


def test_overrides_are_applied_once_when_the_role_is_made() -> None:
    calls: list[str] = []

    def image() -> str:
        calls.append("called")
        return "late:1"

    role = Role("a", "early:1", overrides={"image": image, "entrypoint": "sh"})
    assert (role.image, role.entrypoint, calls) == ("late:1", "sh", ["called"])
    assert dataclasses.replace(role, image="other:1").image == "other:1"
    assert calls == ["called"]


def test_a_subclass_may_change_the_request() -> None:
    class Louder(Role):
        def pre_proc(self, scheduler: str, dryrun_info: AppDryRunInfo[str]) -> AppDryRunInfo[str]:
            return AppDryRunInfo(dryrun_info.request + scheduler, str.upper)

    info = AppDryRunInfo("request ", str)
    assert Role("a", "b").pre_proc("local", info) is info
    assert repr(Louder("a", "b").pre_proc("local", info)) == "REQUEST LOCAL"


def test_roles_compare_by_content_workspace_included() -> None:
    assert Role("a", "b", workspace=Workspace({"x": ""})) == Role("a", "b", workspace=Workspace({"x": ""}))
    assert Role("a", "b", workspace=Workspace({"x": ""})) != Role("a", "b")
