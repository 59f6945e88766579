from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.runner.test_dry_run import Plan
from tests.schedulers.fake import FakeScheduler, app
from topcoat.errors import (
    InvalidHandle,
    UnknownApp,
    UnknownComponent,
    UnknownScheduler,
    UsageError,
    WorkspaceChanged,
)
from topcoat.runner import Runner, get_runner
from topcoat.schedulers.api import Stream
from topcoat.specs import AppDef, AppDryRunInfo, AppState, CfgVal, Role, Workspace
from topcoat.specs.delivery import Delivered
from topcoat.workspace import WorkspaceMixin

RUN, DONE, BAD = AppState.RUNNING, AppState.SUCCEEDED, AppState.FAILED


class ChangingPlan(Plan):
    """Finds the files changed as often as *times* says."""

    times: ClassVar[int] = 0

    def carry_out(self) -> dict[str, Delivered]:
        delivered = super().carry_out()
        if ChangingPlan.times > 0:
            ChangingPlan.times -= 1
            raise WorkspaceChanged("the workspace has changed")
        return delivered


class Changing(WorkspaceMixin[None]):
    plans: ClassVar[list[ChangingPlan]] = []

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> ChangingPlan:
        self.plans.append(ChangingPlan())
        return self.plans[-1]


class ChangingScheduler(Changing, FakeScheduler):
    pass


@pytest.fixture
def fake() -> FakeScheduler:
    return FakeScheduler("s")


@pytest.fixture
def runner(fake: FakeScheduler) -> Runner:
    return Runner("s", {"fake": lambda session_name, **kwargs: fake})


def test_a_runner_has_the_installed_schedulers_and_the_session_topcoat() -> None:
    with get_runner() as runner:
        assert runner.name() == "topcoat"
        assert runner.scheduler_backends()[:3] == ["local", "local_cwd", "local_docker"]
    assert Runner().name() == ""
    assert get_runner("mine").name() == "mine"


def test_running_returns_a_handle_for_status_requests(runner: Runner) -> None:
    handle = runner.run(app(), "fake")
    assert handle == "fake://s/train-0"
    status = runner.status(handle)
    assert status is not None
    assert (status.state, [role.role for role in status.roles]) == (DONE, ["w"])


def test_a_dry_run_submits_nothing(runner: Runner, fake: FakeScheduler) -> None:
    info = runner.run(app(), "fake", dryrun=True)
    assert isinstance(info, AppDryRunInfo)
    assert repr(info) == "run train"
    assert fake.apps == {}


def test_a_changed_request_is_submitted_as_changed(runner: Runner, fake: FakeScheduler) -> None:
    info = runner.dryrun(app(), "fake")
    info.request.name = "other"
    assert runner.schedule(info) == "fake://s/other-0"


def test_a_request_that_was_not_created_by_a_runner_is_refused(runner: Runner) -> None:
    with pytest.raises(UsageError, match=r"Runner\.dryrun"):
        runner.schedule(AppDryRunInfo("request", str))


def test_an_unknown_scheduler_is_an_error_with_suggestions(runner: Runner) -> None:
    with pytest.raises(UnknownScheduler, match="'fakee'") as caught:
        runner.run(app(), "fakee")
    assert caught.value.hint == "did you mean fake?"


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(Changing, "plans", [])
    monkeypatch.setattr(ChangingPlan, "times", 0)
    return Runner("s", {"fake": ChangingScheduler})


def test_a_plan_is_carried_out_once(changing: Runner) -> None:
    info = changing.dryrun(app(), "fake", workspace="/code")
    changing.schedule(info)
    changing.schedule(info)
    assert [plan.carried_out for plan in Changing.plans] == [1]


def test_run_scans_again_when_files_have_changed(changing: Runner) -> None:
    ChangingPlan.times = 2
    changing.run(app(), "fake", workspace="/code")
    assert [plan.carried_out for plan in Changing.plans] == [1, 1, 1]


def test_run_fails_if_files_keep_changing(changing: Runner) -> None:
    ChangingPlan.times = 9
    with pytest.raises(WorkspaceChanged):
        changing.run(app(), "fake", workspace="/code")
    assert len(Changing.plans) == 3
    assert changing.list("fake") == []


def test_an_explicit_dry_run_is_not_repeated(changing: Runner) -> None:
    info = changing.dryrun(app(), "fake", workspace="/code")
    ChangingPlan.times = 1
    with pytest.raises(WorkspaceChanged):
        changing.schedule(info)
    # What failed may be tried again.
    assert changing.schedule(info) == "fake://s/train-0"


def test_waiting_ends_with_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    runner = Runner("s", {"fake": lambda session_name, **kwargs: FakeScheduler(session_name, (RUN,) * 20 + (BAD,))})
    status = runner.wait(runner.run(app(), "fake"), wait_interval=2)
    assert status is not None
    assert status.state is BAD
    assert len(pauses) == 20
    assert pauses[0] <= 0.1
    assert pauses == sorted(pauses)
    assert pauses[-1] == 2


def test_waiting_polls_at_the_schedulers_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cheap(FakeScheduler):
        poll_interval = 0.5

    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    runner = Runner("s", {"fake": lambda session_name, **kwargs: Cheap(session_name, (RUN,) * 20 + (DONE,))})
    runner.wait(runner.run(app(), "fake"))
    assert max(pauses) == 0.5


def test_unknown_applications_have_no_status_and_are_ignored(runner: Runner, fake: FakeScheduler) -> None:
    handle = "fake://s/nope"
    assert runner.status(handle) is None
    assert runner.wait(handle) is None
    assert runner.describe(handle) is None
    runner.cancel(handle)
    runner.delete(handle)
    assert fake.calls == []


def test_the_logs_of_an_unknown_application_are_an_error(runner: Runner) -> None:
    with pytest.raises(UnknownApp, match="fake://s/nope") as caught:
        runner.log_lines("fake://s/nope", "w")
    assert caught.value.hint


def test_log_lines_are_the_schedulers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Logging(FakeScheduler):
        def log_iter(self, *args: Any, **kwargs: Any) -> list[str]:
            return [f"{args} {kwargs}"]

    runner = Runner("s", {"fake": Logging})
    handle = runner.run(app(), "fake")
    (line,) = runner.log_lines(handle, "w", 2, "x", should_tail=True, streams=Stream.STDERR)
    assert line.startswith("('train-0', 'w', 2, 'x', None, None, True) {'streams': <Stream.STDERR")


def test_a_malformed_handle_is_an_error(runner: Runner) -> None:
    with pytest.raises(InvalidHandle):
        runner.status("train-0")


def test_only_running_applications_are_cancelled(fake: FakeScheduler) -> None:
    running = FakeScheduler("s", (RUN,))
    runner = Runner("s", {"fake": lambda session_name, **kwargs: running})
    runner.cancel(runner.run(app(), "fake"))
    assert running.calls[-1] == "cancel train-0"
    runner = Runner("s", {"fake": lambda session_name, **kwargs: fake})
    runner.cancel(runner.run(app(), "fake"))
    assert fake.calls[-1] == "schedule"


def test_stop_is_cancel_with_a_warning(runner: Runner) -> None:
    with pytest.warns(PendingDeprecationWarning, match="cancel"):
        runner.stop(runner.run(app(), "fake"))


def test_an_application_is_described_in_full_here_and_as_far_as_known_elsewhere(
    runner: Runner, fake: FakeScheduler
) -> None:
    handle = runner.run(app(metadata={"a": "b"}), "fake")
    here = runner.describe(handle)
    assert here is not None
    assert here.name == "train"
    elsewhere = Runner("s", {"fake": lambda session_name, **kwargs: fake}).describe(handle)
    assert elsewhere == AppDef("train-0", here.roles)


def test_the_list_has_handles(runner: Runner) -> None:
    handle = runner.run(app(), "fake")
    assert [(job.app_handle, job.app_id, job.name) for job in runner.list("fake")] == [(handle, "train-0", "train")]


def test_a_deleted_application_is_unknown(runner: Runner, fake: FakeScheduler) -> None:
    handle = runner.run(app(), "fake")
    runner.delete(handle)
    assert fake.calls[-1] == "cancel train-0"
    fake.apps.clear()
    assert runner.describe(handle) is None


def test_closing_closes_the_schedulers_that_were_used(fake: FakeScheduler) -> None:
    def never(session_name: str, **kwargs: object) -> FakeScheduler:
        raise AssertionError("not asked for")

    with Runner("s", {"fake": lambda session_name, **kwargs: fake, "other": never}) as runner:
        runner.run(app(), "fake")
    assert fake.calls[-1] == "close"


def test_schedulers_get_parameters_from_the_environment_and_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHX_Region", "env")
    monkeypatch.setenv("TORCHX_CACHE_SIZE", "7")
    monkeypatch.setenv("TORCHX_SESSION_NAME", "not this way")
    made: list[FakeScheduler] = []

    def factory(session_name: str, **kwargs: object) -> FakeScheduler:
        made.append(FakeScheduler(session_name, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    runner = Runner("s", {"fake": factory}, scheduler_params={"region": "caller"})
    runner.scheduler_run_opts("fake")
    runner.scheduler_run_opts("fake")
    assert [item.kwargs for item in made] == [{"region": "caller", "cache_size": "7"}]
    assert made[0].session_name == "s"


def test_options_are_parsed_with_the_schedulers_types(runner: Runner) -> None:
    assert runner.cfg_from_str("fake", "queue=a,size=1", "size=2") == {"queue": "a", "size": 2}
    assert [key for key, _ in runner.scheduler_run_opts("fake")] == ["queue", "size"]


def test_components_are_run_with_words_or_values(runner: Runner, fake: FakeScheduler) -> None:
    handle = runner.run_component("utils.echo", ["--msg", "hi", "--image", "base"], "fake")
    described = runner.describe(handle)
    assert described is not None
    assert "hi" in described.roles[0].args
    info = runner.dryrun_component("utils.echo", {"msg": "ho", "image": "base"}, "fake")
    assert info.app is not None
    assert "ho" in info.app.roles[0].args
    assert len(fake.apps) == 1


def test_components_have_defaults_from_the_configuration(fake: FakeScheduler) -> None:
    factory = {"fake": lambda session_name, **kwargs: fake}
    runner = Runner("s", factory, component_defaults={"utils.echo": {"msg": "configured", "image": "base"}})
    info = runner.dryrun_component("utils.echo", [], "fake")
    assert info.app is not None
    assert "configured" in info.app.roles[0].args


def test_an_unknown_component_is_an_error(runner: Runner) -> None:
    with pytest.raises(UnknownComponent):
        runner.run_component("utils.eco", [], "fake")


def test_workspaces_are_built_ahead_of_time(runner: Runner) -> None:
    assert runner.build_workspace(app(), "fake") == {}
    assert runner.build_workspace(Role("w", "base"), "fake") is None


def test_the_workspace_of_the_call_replaces_the_first_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Changing, "plans", [])
    runner = Runner("s", {"fake": ChangingScheduler})
    info = runner.dryrun(app(workspace=Workspace({"/own": ""})), "fake", workspace=Workspace({"/code": "x"}))
    assert info.app is not None
    assert info.app.roles[0].workspace == Workspace({"/code": "x"})
