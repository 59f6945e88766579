"""What was written for TorchX, and knows nothing of topcoat."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from torchx.cli.cmd_base import SubCommand
from torchx.schedulers.api import AppDryRunInfo, DescribeAppResponse, ListAppResponse, Scheduler
from torchx.specs import AppDef, AppState, CfgVal, Resource, Role
from torchx.workspace import WorkspaceMixin


class OldMixin(WorkspaceMixin[None]):
    """Know only the hook that TorchX 0.7 has."""

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        """Name the workspace."""
        role.env["BUILT"] = workspace


class OldScheduler(OldMixin, Scheduler[Mapping[str, CfgVal]]):
    """Submit nowhere."""

    def __init__(self, session_name: str, **kwargs: object) -> None:
        super().__init__("demo_torchx", session_name)

    def _submit_dryrun(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> AppDryRunInfo[AppDef]:
        return AppDryRunInfo(app, repr)

    def schedule(self, dryrun_info: AppDryRunInfo[AppDef]) -> str:
        """Do nothing."""
        return "nowhere"

    def describe(self, app_id: str) -> DescribeAppResponse:
        """Return success."""
        return DescribeAppResponse(app_id=app_id, state=AppState.SUCCEEDED)

    def list(self) -> list[ListAppResponse]:
        """Return one application; in TorchX 0.7 the method takes no options."""
        return [ListAppResponse("old", AppState.RUNNING)]

    def _validate(self, app: AppDef, scheduler: str) -> None:
        """Accept everything; in TorchX 0.7 the method takes no options."""

    def _cancel_existing(self, app_id: str) -> None:
        pass


class OldCommand(SubCommand):
    """Print what it is given."""

    def add_arguments(self, subparser: ArgumentParser) -> None:
        """Declare the flags."""
        subparser.add_argument("--config", type=str)
        subparser.add_argument("app_id", type=str)

    def run(self, args: Namespace) -> None:
        """Print it."""
        print(f"on {args.app_id} with {args.config}")


def create_scheduler(session_name: str, **kwargs: object) -> OldScheduler:
    """Return the scheduler."""
    return OldScheduler(session_name, **kwargs)


def old_greet(who: str = "world") -> AppDef:
    """Greet as before."""
    return AppDef("old-greet", [Role("greet", "base", entrypoint="echo", args=["hello", who], resource=resource())])


def resource() -> Resource:
    """Return a size."""
    return Resource(cpu=5, gpu=0, memMB=555)
