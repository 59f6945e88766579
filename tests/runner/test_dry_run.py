from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.schedulers.fake import FakeScheduler, app
from topcoat.errors import InvalidApp, InvalidRunConfigException, UsageError
from topcoat.runner.dry_run import Submission, check_app, dry_run
from topcoat.specs import MISSING, AppDef, AppDryRunInfo, CfgVal, Role, Workspace, macros
from topcoat.specs.delivery import Delivered
from topcoat.workspace import WorkspaceMixin


def role(name: str = "w", **changes: object) -> Role:
    return Role(name, "base", **{"entrypoint": "python", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (AppDef("", [role()]), "no name"),
        (AppDef("x"), "'x' has no roles"),
        (AppDef("x", [role("")]), "has no name"),
        (AppDef("x", [role(), role()]), "two roles named 'w'"),
        (AppDef("x", [role(entrypoint=MISSING)]), "'w' of application 'x' has no entrypoint"),
        (AppDef("x", [role(entrypoint="")]), "has no entrypoint"),
        (AppDef("x", [role(num_replicas=0)]), "has 0 replicas"),
        (AppDef("x", [role(num_replicas=-1)]), "has -1 replicas"),
        (AppDef("x", [role(min_replicas=3, num_replicas=2)]), "min_replicas=3"),
        (AppDef("x", [role(min_replicas=0)]), "min_replicas=0"),
        (AppDef("x", [role(max_retries=-1)]), "max_retries=-1"),
        (AppDef("x", [role(entrypoint=macros.img_root)]), "is not substituted"),
    ],
)
def test_an_application_that_cannot_run_anywhere_is_refused(bad: AppDef, message: str) -> None:
    with pytest.raises(InvalidApp, match=message):
        check_app(bad)


def test_anything_but_an_application_is_refused() -> None:
    with pytest.raises(InvalidApp, match="expected an AppDef, not a str"):
        dry_run(FakeScheduler("s"), "app", Submission("fake", "s", {}))  # type: ignore[arg-type]


def test_the_given_application_is_not_changed() -> None:
    given = app(env={"A": "1"})
    info = dry_run(FakeScheduler("s"), given, Submission("fake", "s", {}))
    assert given == app(env={"A": "1"})
    assert info.app is not given


def test_jobs_get_their_handle_and_their_parent_as_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    info = dry_run(FakeScheduler("s"), app(), Submission("fake", "mine", {}, parent_run_id="p1"))
    assert info.app is not None
    assert info.app.roles[0].env == {"TORCHX_JOB_ID": "fake://mine/${app_id}", "TORCHX_PARENT_RUN_ID": "p1"}
    monkeypatch.setenv("TORCHX_PARENT_RUN_ID", "p2")
    info = dry_run(FakeScheduler("s"), app(), Submission("fake", "mine", {}, parent_run_id="p1"))
    assert info.app is not None
    assert info.app.roles[0].env["TORCHX_PARENT_RUN_ID"] == "p2"


def test_options_are_resolved_and_an_unknown_one_is_an_error() -> None:
    info = dry_run(FakeScheduler("s"), app(), Submission("fake", "s", {}))
    assert dict(info.cfg) == {"queue": "main", "size": None}
    with pytest.raises(InvalidRunConfigException, match="unknown run option 'other'"):
        dry_run(FakeScheduler("s"), app(), Submission("fake", "s", {"other": "x"}))
    with pytest.raises(InvalidRunConfigException, match="size"):
        dry_run(FakeScheduler("s"), app(), Submission("fake", "s", {"size": "big"}))


def test_a_scheduler_without_workspaces_refuses_one() -> None:
    for given, workspace in ((app(), "/code"), (app(workspace=Workspace({"/code": ""})), None)):
        with pytest.raises(UsageError, match="cannot use a workspace"):
            dry_run(FakeScheduler("s"), given, Submission("fake", "s", {}, workspace))


class Plan:
    def __init__(self) -> None:
        self.carried_out = 0

    def expected(self) -> dict[str, Delivered]:
        return {}

    def carry_out(self) -> dict[str, Delivered]:
        self.carried_out += 1
        return {"w": Delivered("carried-out")}

    def lines(self) -> list[str]:
        return ["a plan"]


class Planning(WorkspaceMixin[None]):
    """Plans; building at once is a mistake."""

    calls: list[str]

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> Plan | None:
        self.calls.append(
            "plan " + ", ".join(f"{each_role.name}: {each_role.workspace} for {cfg['queue']}" for each_role in roles)
        )
        for each_role in roles:
            each_role.env["PLANNED"] = "1"
        return Plan()

    def build_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> None:
        self.calls.append("build")


class PlanningScheduler(Planning, FakeScheduler):
    def complete_cfg(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> Mapping[str, CfgVal]:
        return {**cfg, "queue": f"{cfg['queue']} of {app.roles[0].workspace}"}


class Hooked(WorkspaceMixin[None]):
    """A mixin as a third party writes it: it can only build."""

    calls: list[str]

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        self.calls.append(f"build {role.name}: {role.workspace}")


class HookedScheduler(Hooked, FakeScheduler):
    pass


def test_workspaces_are_planned_between_the_two_checks_and_not_built() -> None:
    scheduler = PlanningScheduler("s")
    two = AppDef("x", [role("a", workspace=Workspace({"/own": ""})), role("b", workspace=Workspace({"/b": ""}))])
    info = dry_run(scheduler, two, Submission("fake", "s", {}, "/code"))
    assert scheduler.calls == [
        "pre_build_validate",
        "plan a: /code for main of /code, b: /b for main of /code",
        "validate",
        "submit_dryrun",
    ]
    assert isinstance(info.workspace_plan, Plan)
    assert info.workspace_plan.carried_out == 0
    assert info.app is not None
    assert info.app.roles[0].env["PLANNED"] == "1"
    assert info.cfg["queue"] == "main of /code"


def test_an_empty_workspace_argument_keeps_the_roles_own() -> None:
    for nothing in ("", None, Workspace({})):
        scheduler = HookedScheduler("s")
        dry_run(scheduler, app(workspace=Workspace({"/own": ""})), Submission("fake", "s", {}, nothing))
        assert "build w: /own" in scheduler.calls


def test_a_mixin_that_cannot_plan_builds_at_once() -> None:
    scheduler = HookedScheduler("s")
    info = dry_run(scheduler, app(), Submission("fake", "s", {}, Workspace({"/code": "x"})))
    assert scheduler.calls == ["pre_build_validate", "build w: /code:x", "validate", "submit_dryrun"]
    assert info.workspace_plan is None


def test_without_a_workspace_nothing_is_built() -> None:
    scheduler = HookedScheduler("s")
    dry_run(scheduler, app(), Submission("fake", "s", {}))
    assert scheduler.calls == ["pre_build_validate", "validate", "submit_dryrun"]


class _Adding(FakeScheduler):
    """A scheduler that adds to its requests as TorchX's interface allows."""

    def submit_dryrun(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> AppDryRunInfo[AppDef]:
        info = super().submit_dryrun(app, cfg)
        info.request.metadata["added"] = str(cfg["queue"])
        return info


def test_a_scheduler_that_overrides_submit_dryrun_is_asked_there() -> None:
    info = dry_run(_Adding("s"), app(), Submission("fake", "s", {"queue": "q"}))
    assert info.request.metadata == {"added": "q"}
    assert info.scheduler == "fake"


class _Numbered(_Adding):
    """A scheduler that overrides submit_dryrun and chooses its ids."""

    ids = 0

    def new_app_id(self, app: AppDef) -> str:
        self.ids += 1
        return f"{app.name}-{self.ids}"

    def complete_cfg(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> Mapping[str, CfgVal]:
        return {**cfg, "queue": f"queue of {app_id}"}

    def _make_request(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> AppDryRunInfo[AppDef]:
        app.metadata["id"] = app_id
        return super()._make_request(app, cfg, app_id)


def test_an_overridden_submit_dryrun_makes_the_request_under_the_id_of_the_plan() -> None:
    scheduler = _Numbered("s")
    info = dry_run(scheduler, app("x"), Submission("fake", "s", {}))
    assert info.request.metadata == {"added": "queue of x-1", "id": "x-1"}
    assert (info.app_id, scheduler.ids) == ("x-1", 1)
    direct = scheduler.submit_dryrun(app("y"), {"queue": "q"})
    assert direct.app_id == "y-2"


def test_roles_get_the_trackers_of_the_configuration_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def env() -> dict[str, str]:
        info = dry_run(FakeScheduler("s"), app(), Submission("fake", "s", {}))
        return {name: value for name, value in info.request.roles[0].env.items() if "TRACKER" in name}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert env() == {}
    text = "[torchx:tracker]\nmine =\nother =\n[tracker:mine]\nconfig = s3://bucket/runs\n"
    (tmp_path / ".torchxconfig").write_text(text)
    assert env() == {"TORCHX_TRACKERS": "mine,other", "TORCHX_TRACKER_MINE_CONFIG": "s3://bucket/runs"}
    monkeypatch.setenv("TORCHX_TRACKERS", "other")
    monkeypatch.setenv("TORCHX_TRACKER_OTHER_CONFIG", "here")
    assert env() == {"TORCHX_TRACKERS": "other", "TORCHX_TRACKER_OTHER_CONFIG": "here"}
