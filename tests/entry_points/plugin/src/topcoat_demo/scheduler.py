"""A scheduler that keeps its applications in memory, and a replacement for a built-in one."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.schedulers.api import DescribeAppResponse, ListAppResponse, Scheduler
from topcoat.schedulers.local.cwd_scheduler import LocalScheduler
from topcoat.specs import AppDef, AppDryRunInfo, AppState, CfgVal
from topcoat_demo.mixin import ArchiveMixin


class DemoScheduler(ArchiveMixin, Scheduler[Mapping[str, CfgVal]]):
    """Submit to a dict."""

    def __init__(self, session_name: str) -> None:
        super().__init__("demo", session_name)
        self._apps: dict[str, AppDef] = {}

    def _submit_dryrun(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> AppDryRunInfo[AppDef]:
        return AppDryRunInfo(app, lambda request: f"demo: {request.roles[0].env['ARCHIVE']}")

    def schedule(self, dryrun_info: AppDryRunInfo[AppDef]) -> str:
        """Keep the application."""
        app_id = f"{dryrun_info.request.name}-{len(self._apps)}"
        self._apps[app_id] = dryrun_info.request
        return app_id

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Return what was kept."""
        app = self._apps.get(app_id)
        return DescribeAppResponse(app_id, AppState.SUCCEEDED, roles=app.roles) if app else None

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return all that was kept."""
        return [ListAppResponse(app_id, AppState.SUCCEEDED) for app_id in self._apps]

    def _cancel_existing(self, app_id: str) -> None:
        del self._apps[app_id]


class LocalCwd(LocalScheduler):
    """Stand in for the built-in one."""


def create_scheduler(session_name: str, **kwargs: object) -> DemoScheduler:
    """Return the scheduler ``demo``."""
    return DemoScheduler(session_name)


def create_local_cwd(session_name: str, **kwargs: object) -> LocalCwd:
    """Return the package's own ``local_cwd``."""
    return LocalCwd(session_name)


def not_a_scheduler(session_name: str, **kwargs: object) -> object:
    """Return what no runner can use."""
    return object()


def fail(session_name: str, **kwargs: object) -> DemoScheduler:
    """Fail."""
    raise OSError("the cluster is out")
