"""A scheduler that keeps applications in memory, written as a user would write one."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.schedulers.api import AppDryRunInfo, DescribeAppResponse, ListAppResponse, Scheduler
from topcoat.specs import AppDef, AppState, CfgVal, Role, RoleStatus, runopts


class FakeScheduler(Scheduler[Mapping[str, CfgVal]]):
    """Submit to a list; *states* are what an application goes through, one at each question."""

    def __init__(
        self, session_name: str, states: tuple[AppState, ...] = (AppState.SUCCEEDED,), **kwargs: object
    ) -> None:
        super().__init__("fake", session_name)
        self.kwargs = kwargs
        self.apps: dict[str, AppDef] = {}
        self.calls: list[str] = []
        self._states = list(states)

    def _run_opts(self) -> runopts:
        opts = runopts()
        opts.add("queue", type_=str, default="main", help="where to wait")
        opts.add("size", type_=int, help="how big")
        return opts

    def _pre_build_validate(self, app: AppDef, scheduler: str, cfg: Mapping[str, CfgVal]) -> None:
        self.calls.append("pre_build_validate")

    def _validate(self, app: AppDef, scheduler: str, cfg: Mapping[str, CfgVal]) -> None:
        self.calls.append("validate")

    def _submit_dryrun(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> AppDryRunInfo[AppDef]:
        self.calls.append("submit_dryrun")
        return AppDryRunInfo(app, lambda request: f"run {request.name}")

    def schedule(self, dryrun_info: AppDryRunInfo[AppDef]) -> str:
        self.calls.append("schedule")
        app_id = f"{dryrun_info.request.name}-{len(self.apps)}"
        self.apps[app_id] = dryrun_info.request
        return app_id

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        if app_id not in self.apps:
            return None
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        roles = self.apps[app_id].roles
        return DescribeAppResponse(
            app_id, state, 0, roles=roles, roles_statuses=[RoleStatus(r.name, []) for r in roles]
        )

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        return [ListAppResponse(app_id, AppState.RUNNING, name=app.name) for app_id, app in self.apps.items()]

    def _cancel_existing(self, app_id: str) -> None:
        self.calls.append(f"cancel {app_id}")

    def close(self) -> None:
        self.calls.append("close")


def app(name: str = "train", **role: object) -> AppDef:
    return AppDef(name, [Role("w", "base", entrypoint="python", **role)])  # type: ignore[arg-type]
