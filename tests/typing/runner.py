"""A typed use of every public name of ``topcoat.runner``."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from topcoat.runner import Runner, get_runner
from topcoat.schedulers.api import ListAppResponse, Stream
from topcoat.specs import AppDef, AppDryRunInfo, AppStatus, Role, Workspace, runopts
from topcoat.workspace import pin_workspace_images

app = AppDef("a", [Role("r", "base", entrypoint="sh", workspace=Workspace({"src": ""}))])

with get_runner("session", component_defaults={"utils.sh": {"image": "busybox"}}, docker_client=None) as runner:
    assert_type(runner, Runner)
    assert_type(runner.scheduler_backends(), list[str])
    assert_type(runner.scheduler_run_opts("local"), runopts)
    cfg = runner.cfg_from_str("local_docker", "privileged=true", "env=A:1")

    info = runner.dryrun(app, "local_docker", cfg, workspace="src", parent_run_id="run")
    assert_type(info, AppDryRunInfo[Any])
    handle = runner.schedule(info)
    assert_type(handle, str)
    assert_type(runner.run(app, "local", workspace=Workspace.from_str("src")), str)
    assert_type(runner.run(app, "local", dryrun=True), AppDryRunInfo[Any])
    assert_type(runner.run_component("utils.sh", ["echo", "hi"], "local"), str)
    assert_type(runner.dryrun_component("utils.echo", {"msg": "hi"}, "local"), AppDryRunInfo[Any])

    built = runner.build_workspace(app, "local_docker", cfg)
    assert_type(built, dict[tuple[str, Workspace], str])
    pin_workspace_images(app, built)
    assert_type(runner.build_workspace(app.roles[0], "local_docker"), str | None)

    assert_type(runner.status(handle), AppStatus | None)
    assert_type(runner.wait(handle, wait_interval=0.5), AppStatus | None)
    assert_type(runner.describe(handle), AppDef | None)
    assert_type(runner.list("local"), list[ListAppResponse])
    for line in runner.log_lines(handle, "r", k=0, regex="loss", should_tail=True, streams=Stream.STDOUT):
        assert_type(line, str)
    runner.cancel(handle)
    runner.stop(handle)
    runner.delete(handle)

Runner("session", {}).close()
