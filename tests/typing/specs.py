"""A typed use of every public name of ``topcoat.specs``; the type checker reads it, nothing runs it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from typing_extensions import assert_type

from topcoat import specs
from topcoat.specs import (
    AppDef,
    AppDryRunInfo,
    AppState,
    CfgVal,
    Resource,
    Role,
    Workspace,
    macros,
    runopts,
)

opts = runopts()
efa = specs.CapabilityKey("aws", "efa_enabled", bool)
efa.set(specs.resource(memMB=4 * specs.GiB), True)
assert_type(efa.get(specs.resource()), "bool | None")
context: tuple[str, str] = (specs.TORCHX_CONTEXT_NAME, specs.NA)
typed_info: AppDryRunInfo[str, dict[str, CfgVal]] = AppDryRunInfo("request", str)
assert_type(typed_info.cfg, dict[str, CfgVal])
opts.add("queue", type_=str, help="where to wait", required=True)
opts.add("hosts", type_=list[str], help="where to run", default=["a"])
opts.add("env", type_=dict[str, str], help="variables")
assert_type(opts | opts, runopts)
assert_type(opts.get("queue"), "specs.runopt | None")
assert_type(opts.resolve({"queue": "q", "hosts": ["a"], "env": {"A": "1"}, "n": None}), dict[str, CfgVal])
assert_type(opts.cfg_from_str("queue=q"), dict[str, CfgVal])
for name, opt in opts:
    assert_type(name, str)
    assert_type(opt.cast_to_type("x"), CfgVal)

workspace = Workspace.from_str("{~/code/app: app}")
assert_type(workspace.projects, dict[str, str])
assert_type(workspace.is_unmapped_single_project(), bool)
workspace.merge_into(pathlib.Path("out"))
workspace.merge_into("out")
for source, target in workspace.resolved():
    assert_type(source, str)
    assert_type(target, str)

role = Role(
    name="trainer",
    image="repo/app:1",
    min_replicas=1,
    entrypoint="python",
    args=["-m", "train", macros.app_id],
    env={"A": macros.replica_id},
    num_replicas=2,
    max_retries=1,
    retry_policy=specs.RetryPolicy.REPLICA,
    resource=specs.resource(cpu=1, gpu=0, memMB=512),
    port_map={"http": 80},
    metadata={"kubernetes": {"spec": {}}},
    mounts=[
        specs.BindMount("/a", "/b", read_only=True),
        specs.VolumeMount("v", "/v"),
        *specs.parse_mounts(["type=device", "src=/dev/fuse"]),
    ],
    workspace=workspace,
)
role.image = "sha256:0"
specs.check_macros(role)
assert_type(macros.Values("/", "app", "0", "HOST").apply(role), Role)
assert_type(Resource.copy(specs.named_resources["gpu.small"], zone="a"), Resource)

app = AppDef(name="app", roles=[role], metadata={"team": "x"})
info: AppDryRunInfo[list[str]] = AppDryRunInfo(["run"], " ".join)
assert_type(info.request, list[str])
assert_type(info.app, "AppDef | None")
assert_type(info.cfg, Mapping[str, CfgVal])
assert_type(role.pre_proc("local", info), AppDryRunInfo[Any])

status = specs.AppStatus(AppState.FAILED, roles=[specs.RoleStatus("r", [])])
try:
    status.raise_for_status()
except specs.AppStatusError as error:
    print(error.status, error.hint)
assert_type(status.format(filter_roles=["r"]), str)
assert_type(specs.parse_app_handle("local://s/a").app_id, str)
assert_type(specs.TORCHX_HOME("a"), pathlib.Path)

assert_type(specs.parse_app_handle("local://s/a"), specs.ParsedAppHandle)
handle: specs.AppHandle = specs.make_app_handle("local", "s", "a")
assert_type(handle, str)

replica = specs.ReplicaStatus(0, AppState.RUNNING, "trainer", "host", specs.NONE)
assert_type(replica.state, AppState)
state: specs.ReplicaState = AppState.PENDING
assert_type(specs.is_started(state) or specs.is_terminal(state), bool)

option: specs.runopt = specs.runopt(default=None, opt_type=int, is_required=False, help="how many")
assert_type(option.cast_to_type("1"), CfgVal)
assert_type(specs.get_type_name(list[str]), str)
texts: list[str] = [specs.ALL, specs.MISSING, specs.NONE, specs.UNKNOWN]

assert_type(specs.get_named_resources("gpu.small"), Resource)
if role.resource == specs.NULL_RESOURCE:
    role.resource = specs.named_resources["gpu.small"]
mount: specs.BindMount | specs.VolumeMount | specs.DeviceMount = specs.DeviceMount("/dev/fuse", "/dev/fuse")
assert_type(specs.MountType("bind"), specs.MountType)
project: specs.ProjectSpec = workspace.resolved()[0]


def component(image: str, *args: str) -> AppDef:
    """Make an application."""
    return AppDef("app", [Role("r", image, entrypoint="sh", args=list(args))])


assert_type(specs.materialize_appdef(component, ["--image", "busybox", "ls"]), AppDef)
try:
    opts.resolve({})
except (specs.InvalidRunConfigException, specs.MalformedAppHandleException) as error:
    print(error.hint)
except (specs.UnknownAppException, specs.UnknownSchedulerException) as error:
    print(error.message)
