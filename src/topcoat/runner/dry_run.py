"""From an application to the request that would be submitted."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from topcoat.errors import InvalidApp
from topcoat.runner.config import get_config, get_configs
from topcoat.schedulers.api import Scheduler
from topcoat.specs import (
    MISSING,
    AppDef,
    AppDryRunInfo,
    CfgVal,
    Workspace,
    check_macros,
    macros,
    make_app_handle,
)

PARENT_RUN_ID = "TORCHX_PARENT_RUN_ID"
TRACKERS = "TORCHX_TRACKERS"


class Submission(NamedTuple):
    """Hold what is asked for besides the application; see ``Runner.run``."""

    scheduler: str
    session: str
    cfg: Mapping[str, CfgVal]
    workspace: Workspace | str | None = None
    parent_run_id: str | None = None


def dry_run(scheduler: Scheduler[Any], app: AppDef, submission: Submission) -> AppDryRunInfo[Any]:
    """Return the request for a copy of *app*, with the plan for its workspaces; see ``Runner.dryrun``."""
    app = copy.deepcopy(_as_appdef(app))
    check_app(app)
    workspace = submission.workspace
    if workspace:
        app.roles[0].workspace = Workspace.from_str(workspace) if isinstance(workspace, str) else workspace
    # The job id is for schedulers that do not set topcoat's variables; they replace the macro.
    env = {"TORCHX_JOB_ID": make_app_handle(submission.scheduler, submission.session, macros.app_id)} | tracker_env()
    if parent := os.environ.get(PARENT_RUN_ID) or submission.parent_run_id:
        env[PARENT_RUN_ID] = parent
    for role in app.roles:
        role.env.update(env)
    return scheduler.plan(app, submission.cfg, submission.scheduler)


def tracker_env() -> dict[str, str]:
    """Return the variables that tell TorchX's trackers in the job which backends to use, and their settings.

    The names are those of ``TORCHX_TRACKERS``, else the keys of ``[torchx:tracker]`` in ``.torchxconfig``; the setting
    of one is ``TORCHX_TRACKER_<NAME>_CONFIG``, else ``config`` in ``[tracker:<name>]``.
    """
    names = [*get_configs("torchx", "tracker")]
    if TRACKERS in os.environ:
        names = [name for name in os.environ[TRACKERS].split(",") if name]
    env = {TRACKERS: ",".join(names)} if names else {}
    for name in names:
        variable = f"TORCHX_TRACKER_{name.upper()}_CONFIG"
        if setting := os.environ.get(variable) or get_config("tracker", name, "config"):
            env[variable] = setting
    return env


def check_app(app: AppDef) -> None:
    """Raise ``InvalidApp`` if no scheduler could run *app* as declared."""
    if not app.name:
        raise InvalidApp("the application has no name")
    if not app.roles:
        raise InvalidApp(f"the application {app.name!r} has no roles", hint="give AppDef at least one Role")
    seen = set()
    for role in app.roles:
        where = f"role {role.name!r} of application {app.name!r}"
        if not role.name:
            raise InvalidApp(f"a role of application {app.name!r} has no name")
        if role.name in seen:
            raise InvalidApp(f"the application {app.name!r} has two roles named {role.name!r}", hint="rename one")
        seen.add(role.name)
        if not role.entrypoint or role.entrypoint == MISSING:
            raise InvalidApp(f"{where} has no entrypoint", hint="say what it runs: Role(entrypoint='python', ...)")
        if role.num_replicas < 1:
            raise InvalidApp(f"{where} has {role.num_replicas} replicas", hint="num_replicas is at least 1")
        if role.min_replicas is not None and not 1 <= role.min_replicas <= role.num_replicas:
            raise InvalidApp(
                f"{where} has min_replicas={role.min_replicas}",
                hint=f"min_replicas is between 1 and num_replicas, here {role.num_replicas}",
            )
        if role.max_retries < 0:
            raise InvalidApp(f"{where} has max_retries={role.max_retries}", hint="max_retries is at least 0")
        check_macros(role)


def _as_appdef(app: AppDef) -> AppDef:
    from topcoat.specs.from_torchx import as_appdef

    converted = as_appdef(app)
    if converted is None:
        raise InvalidApp(f"expected an AppDef, not a {type(app).__qualname__}")
    return converted
