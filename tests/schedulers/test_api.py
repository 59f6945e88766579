from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.schedulers.fake import FakeScheduler, app
from topcoat.errors import InvalidApp, InvalidRunConfigException, TopcoatError, UsageError
from topcoat.schedulers.api import (
    AppDryRunInfo,
    DescribeAppResponse,
    Freeable,
    ListAppResponse,
    Scheduler,
    Stream,
    StructuredOpts,
)
from topcoat.specs import NONE, AppDef, AppState, CfgVal, Resource, Role, Workspace, runopts
from topcoat.workspace import WorkspaceMixin


class Overlay(WorkspaceMixin[None]):
    def workspace_opts(self) -> runopts:
        opts = runopts()
        opts.add("bucket", type_=str, help="where")
        opts.add("queue", type_=str, default="of the workspace", help="wins")
        return opts

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        role.env["BUILT"] = f"{role.workspace} in {cfg.get('bucket')}"


class WithOverlay(Overlay, FakeScheduler):
    pass


def test_responses_have_the_defaults_of_torchx() -> None:
    response = DescribeAppResponse()
    assert (response.app_id, response.state, response.num_restarts) == ("<NOT_SET>", AppState.UNSUBMITTED, -1)
    assert (response.msg, response.structured_error_msg, response.ui_url) == (NONE, NONE, None)
    assert (response.metadata, response.roles_statuses, response.roles) == ({}, [], [])
    listed = ListAppResponse("a", AppState.RUNNING)
    assert (listed.app_handle, listed.name) == ("<NOT_SET>", "")
    assert {listed, ListAppResponse("a", AppState.RUNNING)} == {listed}


def test_streams_have_the_names_of_torchx() -> None:
    assert [stream.value for stream in Stream] == ["stdout", "stderr", "combined"]


def test_submitting_returns_the_id_and_notes_app_and_options() -> None:
    scheduler, submitted = FakeScheduler("s"), app()
    info = scheduler.submit_dryrun(submitted, {"size": 3})
    assert info.app is submitted
    assert dict(info.cfg) == {"queue": "main", "size": 3}
    assert repr(info) == "run train"
    assert scheduler.submit(submitted, {}) == "train-0"


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InvalidRunConfigException, match="size"):
        FakeScheduler("s").submit(app(), {"size": "big"})


def test_every_role_may_change_the_request() -> None:
    class Loud(Role):
        def pre_proc(self, scheduler: str, dryrun_info: AppDryRunInfo[AppDef]) -> AppDryRunInfo[AppDef]:
            dryrun_info.request.name = f"{dryrun_info.request.name}-{scheduler}"
            return dryrun_info

    loud = AppDef("x", [Loud("a", "i", entrypoint="e"), Loud("b", "i", entrypoint="e")])
    assert FakeScheduler("s").submit_dryrun(loud, {}).request.name == "x-fake-fake"


def test_options_are_converted_to_the_type_that_the_scheduler_names() -> None:
    @dataclass
    class Opts(StructuredOpts):
        queue: str = "q"

    class Typed(FakeScheduler, Scheduler[Opts]):  # type: ignore[misc]
        def _run_opts(self) -> runopts:
            return Opts.as_runopts()

        def _submit_dryrun(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> AppDryRunInfo[AppDef]:
            assert isinstance(cfg, Opts)
            app.name = cfg.queue
            return AppDryRunInfo(app, str)

    class Derived(Typed):
        pass

    assert Derived("s").submit_dryrun(app(), {}).request.name == "q"


def test_options_of_the_workspace_come_on_top() -> None:
    opts = dict(WithOverlay("s").run_opts())
    assert list(opts) == ["queue", "size", "bucket"]
    assert opts["queue"].default == "of the workspace"


def test_a_workspace_becomes_the_first_roles_and_is_built() -> None:
    two = AppDef("x", [Role("a", "i", entrypoint="e"), Role("b", "i", entrypoint="e")])
    WithOverlay("s").submit(two, {"bucket": "b"}, workspace="/code")
    assert two.roles[0].workspace == Workspace({"/code": ""})
    assert two.roles[0].env == {"BUILT": "/code in b"}
    assert two.roles[1].env == {}


@pytest.mark.parametrize("method", ["plan_workspaces", "build_workspaces"])
def test_a_scheduler_without_a_mixin_refuses_workspaces_instead_of_ignoring_them(method: str) -> None:
    scheduler = FakeScheduler("s")
    assert not scheduler.uses_workspace
    assert getattr(scheduler, method)(app().roles, {}) is None
    with pytest.raises(UsageError, match=r"'fake' cannot use a workspace.*'w' has one: /code") as caught:
        getattr(scheduler, method)(app(workspace=Workspace({"/code": ""})).roles, {})
    assert caught.value.hint


def test_a_mixin_overrides_the_refusal() -> None:
    scheduler = WithOverlay("s")
    assert scheduler.uses_workspace
    assert scheduler.plan_workspaces(app(workspace=Workspace({"/code": ""})).roles, {}) is None


def test_the_roles_own_workspaces_are_built_too() -> None:
    two = AppDef("x", [Role("a", "i", entrypoint="e"), Role("b", "i", entrypoint="e", workspace=Workspace({"/b": ""}))])
    WithOverlay("s").submit(two, {})
    assert (two.roles[0].env, two.roles[1].env) == ({}, {"BUILT": "/b in None"})


def test_submitting_a_workspace_to_a_scheduler_without_a_mixin_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot use a workspace"):
        FakeScheduler("s").submit(app(workspace=Workspace({"/code": ""})), {})
    with pytest.raises(UsageError, match="cannot use a workspace"):
        FakeScheduler("s").submit(app(), {}, workspace=Workspace({"/code": ""}))


def test_cancelling_and_deleting_ignore_unknown_ids() -> None:
    scheduler = FakeScheduler("s")
    scheduler.cancel("x")
    scheduler.delete("x")
    assert scheduler.calls == []


def test_deleting_cancels_by_default() -> None:
    scheduler = FakeScheduler("s")
    app_id = scheduler.submit(app(), {})
    scheduler.delete(app_id)
    assert scheduler.calls[-1] == f"cancel {app_id}"


def test_by_default_a_role_needs_a_resource() -> None:
    class Strict(FakeScheduler):
        _validate = Scheduler._validate

    Strict("s")._validate(app(resource=Resource(1, 0, 512)), "fake", {})
    with pytest.raises(InvalidApp, match="'w' has no resource") as caught:
        Strict("s")._validate(app(), "fake", {})
    assert isinstance(caught.value, TopcoatError)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("log_iter", ("app", "role")),
        ("copy_from", ("app", "role", 0, "out", "out")),
        ("copy_to", ("app", "role", 0, "in", "in")),
        ("execute", ("app", "role", 0, ["ls"])),
        ("attach", ("app", "role", 0)),
        ("replica_times", ("app",)),
        ("free", (Freeable("snapshot", "/x"),)),
    ],
)
def test_what_a_backend_does_not_support_is_refused_with_an_alternative(
    method: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(UsageError, match="the scheduler 'fake' cannot ") as caught:
        getattr(FakeScheduler("s"), method)(*arguments)
    assert caught.value.hint


def test_a_scheduler_has_nothing_to_free_by_default() -> None:
    assert list(FakeScheduler("s").freeable()) == []
    assert FakeScheduler("s").outputs("x") is None
