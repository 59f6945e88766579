"""The spec page's scheduler with its methods implemented, run by the Runner.

A program of its own: ``page`` is the page's code, and ``torchx`` is topcoat.
"""

import json
import sys

from page import MyScheduler
from torchx.runner import Runner, get_runner
from torchx.schedulers.api import AppDryRunInfo, DescribeAppResponse, ListAppResponse
from torchx.specs import AppDef, AppState, InvalidRunConfigException, Resource, Role, Workspace


class Completed(MyScheduler):
    """Keep applications in memory, and the roles that the workspace hook was called with."""

    def __init__(self, session_name, **kwargs):
        super().__init__(session_name, **kwargs)
        self.apps, self.hook_calls = {}, []

    def caching_build_workspace_and_update_role(self, role, cfg, build_cache):
        self.hook_calls.append((role.name, id(build_cache)))
        super().caching_build_workspace_and_update_role(role, cfg, build_cache)

    def _submit_dryrun(self, app, cfg):
        return AppDryRunInfo(app, repr)

    def schedule(self, dryrun_info):
        app_id = f"{dryrun_info.request.name}_{len(self.apps)}"
        self.apps[app_id] = dryrun_info.request
        return app_id

    def describe(self, app_id):
        app = self.apps.get(app_id)
        return app and DescribeAppResponse(app_id=app_id, state=AppState.SUCCEEDED, roles=app.roles)

    def list(self, cfg=None):
        return [ListAppResponse(app_id=app_id, state=AppState.SUCCEEDED) for app_id in self.apps]

    def _cancel_existing(self, app_id):
        pass


def make_role(name, workspace=None):
    """Return a role that a scheduler can run."""
    resource = Resource(cpu=1, gpu=0, memMB=512)
    return Role(
        name, "base:latest", entrypoint="echo", resource=resource, workspace=workspace and Workspace.from_str(workspace)
    )


def main(directory, cfg_text):
    """Submit an application of three roles, two of them with a workspace, and print the result."""
    schedulers = []

    def factory(session_name, **kwargs):
        schedulers.append(Completed(session_name, **kwargs))
        return schedulers[-1]

    app = AppDef("demo", [make_role("worker", directory), make_role("server", directory), make_role("reader")])
    with Runner("session", {"my_backend": factory}) as runner:
        cfg = runner.cfg_from_str("my_backend", *([cfg_text] if cfg_text else []))
        try:
            handle = runner.run(app, "my_backend", cfg)
        except InvalidRunConfigException as error:
            return {"error": str(error), "builds": len(schedulers[0].hook_calls), "submitted": len(schedulers[0].apps)}
        (submitted,) = schedulers[0].apps.values()
        calls = schedulers[0].hook_calls
        second = runner.run(AppDef("demo", [make_role("worker")]), "my_backend", cfg, workspace=directory)
        return {
            "handle": handle,
            "second": second,
            "options": [name for name, _ in runner.scheduler_run_opts("my_backend")],
            "env": {role.name: role.env.get("WORKSPACE_ARTIFACT") for role in submitted.roles},
            "authored": [role.env for role in app.roles],
            "builds": [name for name, _ in calls],
            "caches": len({cache for _, cache in calls[:2]}),
            "state": runner.status(handle).state.name,
            "listed": [response.app_handle for response in runner.list("my_backend")],
            "built_in": "my_backend" in get_runner().scheduler_backends(),
        }


print(json.dumps(main(*sys.argv[1:])))
