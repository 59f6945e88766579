"""A scheduler whose jobs run elsewhere, with images from a registry, written as a user would write one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from topcoat.runner import Runner
from topcoat.schedulers.api import DescribeAppResponse, ListAppResponse, Scheduler
from topcoat.specs import AppDef, AppDryRunInfo, AppState, CfgVal, Resource, Role, Workspace
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin


class Request(NamedTuple):
    """What is submitted: an image for each role, and images that have to be pushed first."""

    images: dict[str, str]
    to_push: dict[str, tuple[str, str]]


class RemoteScheduler(DockerWorkspaceMixin, Scheduler[Mapping[str, CfgVal]]):
    """Keep the requests in memory.

    *before_submit* is called when a request has been made, while the workspace can still change.
    """

    def __init__(self, session_name: str, before_submit: Callable[[], object] = lambda: None, **kwargs: object) -> None:
        super().__init__("remote", session_name)
        self.submitted: list[Request] = []
        self._before_submit = before_submit

    def _submit_dryrun(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> AppDryRunInfo[Request]:
        """Make the request, and let the test interfere."""
        to_push = self.dryrun_push_images(app, cfg)
        self._before_submit()
        return AppDryRunInfo(Request({role.name: role.image for role in app.roles}, to_push), repr)

    def schedule(self, dryrun_info: AppDryRunInfo[Request]) -> str:
        """Push what is left to push, and keep the request."""
        self.push_images(dryrun_info.request.to_push)
        self.submitted.append(dryrun_info.request)
        return f"app-{len(self.submitted)}"

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Know what was submitted."""
        app_ids = [f"app-{number + 1}" for number in range(len(self.submitted))]
        return DescribeAppResponse(app_id, AppState.SUCCEEDED) if app_id in app_ids else None

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """List what was submitted."""
        return [ListAppResponse(f"app-{number + 1}", AppState.SUCCEEDED) for number in range(len(self.submitted))]

    def _cancel_existing(self, app_id: str) -> None:
        pass


def runner(before_submit: Callable[[], object] = lambda: None) -> tuple[Runner, RemoteScheduler]:
    """Return a runner that has only this scheduler, and the scheduler."""
    scheduler = RemoteScheduler("session", before_submit)
    return Runner("session", {"remote": lambda session_name, **kwargs: scheduler}), scheduler


def role(name: str, image: str, workspace: Workspace | None = None, command: str = "true") -> Role:
    """Return a role that runs *command* in a shell."""
    resource = Resource(cpu=1, gpu=0, memMB=64)
    return Role(name, image, entrypoint="sh", args=["-c", command], resource=resource, workspace=workspace)
