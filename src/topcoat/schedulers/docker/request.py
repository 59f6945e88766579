"""Build the request for a local Docker application, and read the states of its containers. No side effects."""

from __future__ import annotations

import fnmatch
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from topcoat.schedulers.devices import get_device_mounts
from topcoat.schedulers.env import RANK0_ENV, job_env
from topcoat.schedulers.ids import dns_label
from topcoat.schedulers.image_entrypoint import KEEP_OR_REPLACE, keeps_entrypoint
from topcoat.specs import AppDef, AppState, BindMount, CfgVal, DeviceMount, Role, macros
from topcoat.version import __version__

NETWORK = "topcoat"
APP_ID = "dev.topcoat.app-id"
APP_NAME = "dev.topcoat.app-name"
ROLE = "dev.topcoat.role-name"
REPLICA = "dev.topcoat.replica-id"
PORTS = "dev.topcoat.ports"
VERSION = "dev.topcoat.version"
KEEPS_ENTRYPOINT = "dev.topcoat.keeps-entrypoint"
ERROR_FILE = "/tmp/topcoat-error.json"
CANCELLED_POLICY = "unless-stopped"
"""The restart policy that ``cancel`` sets, which tells a cancelled container from a failed one."""

_PRECEDENCE = (
    *(AppState.RUNNING, AppState.PENDING, AppState.SUBMITTED, AppState.UNKNOWN),
    *(AppState.CANCELLED, AppState.FAILED, AppState.SUCCEEDED),
)
"""The first one that a container is in is the state of its application."""


@dataclass
class DockerContainer:
    """Hold the image, the command and the other arguments of docker-py's ``create``.

    The command goes to the image's entrypoint as arguments, unless *kwargs* have another ``entrypoint``.
    """

    image: str
    command: list[str]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class DockerJob:
    """Hold the containers of an application (TorchX's names)."""

    app_id: str
    containers: list[DockerContainer] = field(default_factory=list)

    def __str__(self) -> str:
        import yaml

        return yaml.safe_dump(asdict(self), sort_keys=False, width=120)


def make_job(
    app: AppDef,
    cfg: Mapping[str, CfgVal],
    *,
    backend: str,
    session_name: str,
    app_id: str,
    environ: Mapping[str, str],
) -> DockerJob:
    """Return the containers of *app*, whose images are final; ``copy_env`` copies from *environ*."""
    job = DockerJob(app_id)
    copied, extra = option_variables(cfg, environ)
    rank0 = container_name(app_id, app.roles[0].name, 0)
    for role in app.roles:
        for replica_id in range(role.num_replicas):
            replica = macros.Values("", app_id, str(replica_id), RANK0_ENV).apply(role)
            own = job_env(
                backend=backend,
                session_name=session_name,
                app_id=app_id,
                role=role,
                replica_id=replica_id,
                rank0_host=rank0,
            )
            env = {**copied, **own, "TORCHELASTIC_ERROR_FILE": ERROR_FILE, **replica.env, **extra}
            name = container_name(app_id, role.name, replica_id)
            kwargs: dict[str, Any] = {
                "name": name,
                "hostname": name,
                "network": NETWORK,
                "environment": env,
                "labels": {
                    APP_ID: app_id,
                    APP_NAME: app.name,
                    ROLE: role.name,
                    REPLICA: str(replica_id),
                    VERSION: __version__,
                    KEEPS_ENTRYPOINT: str(keeps_entrypoint(cfg, KEEP_OR_REPLACE)).lower(),
                },
                **_resources(role),
                **_mounts(role),
            }
            if cfg.get("privileged"):
                kwargs["privileged"] = True
            if role.port_map:
                # None: published at a free port of this machine. An empty list depends on the engine's version.
                kwargs["labels"][PORTS] = ",".join([f"{port}={name}" for name, port in role.port_map.items()])
                kwargs["ports"] = {f"{port}/tcp": None for port in role.port_map.values()}
            if role.max_retries > 0:
                kwargs["restart_policy"] = {"Name": "on-failure", "MaximumRetryCount": role.max_retries}
            command = [replica.entrypoint, *replica.args]
            if not keeps_entrypoint(cfg, KEEP_OR_REPLACE):
                kwargs["entrypoint"], command = command[:1], command[1:]
            job.containers.append(DockerContainer(role.image, command, kwargs))
    return job


def option_variables(cfg: Mapping[str, CfgVal], environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables that ``copy_env`` copies from *environ*, and those of the option ``env``."""
    patterns, extra = cfg.get("copy_env") or [], cfg.get("env") or {}
    assert isinstance(patterns, list)
    assert isinstance(extra, dict)
    copied = {name: value for name, value in environ.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)}
    return copied, extra


def container_name(app_id: str, role: str, replica_id: int) -> str:
    """Return the name of a container, by which the others reach it: at most 63 characters, valid in DNS."""
    end = f"-{replica_id}"
    return dns_label(f"{app_id[-30:]}-{role}", 63 - len(end)) + end


def _resources(role: Role) -> dict[str, Any]:
    resource, kwargs = role.resource, dict[str, Any]()
    if resource.memMB > 0:
        # PyTorch's data loaders share memory through /dev/shm, for which Docker's default is 64 MB.
        kwargs.update(mem_limit=f"{int(resource.memMB)}m", shm_size=f"{int(resource.memMB)}m")
    if resource.cpu > 0:
        kwargs["nano_cpus"] = int(resource.cpu * 1e9)
    if resource.gpu > 0:
        kwargs["device_requests"] = [{"count": int(resource.gpu), "capabilities": [["gpu"]]}]
    return kwargs


def _mounts(role: Role) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = []
    devices: list[str] = []
    for mount in [*role.mounts, *get_device_mounts(role.resource.devices)]:
        if isinstance(mount, DeviceMount):
            devices.append(f"{mount.src_path}:{mount.dst_path}:{mount.permissions}")
            continue
        if isinstance(mount, BindMount):
            type_, source = "bind", os.path.abspath(os.path.expanduser(mount.src_path))
        else:
            type_, source = "volume", mount.src
        mounts.append({"Type": type_, "Source": source, "Target": mount.dst_path, "ReadOnly": mount.read_only})
    return {key: value for key, value in (("mounts", mounts), ("devices", devices)) if value}


def container_state(attrs: Mapping[str, Any]) -> AppState:
    """Return the state of a container; *attrs* is the output of ``docker inspect``."""
    state = attrs["State"]
    status = state["Status"]
    if status in ("exited", "stopped"):
        if attrs["HostConfig"].get("RestartPolicy", {}).get("Name") == CANCELLED_POLICY:
            return AppState.CANCELLED
        return AppState.SUCCEEDED if state["ExitCode"] == 0 else AppState.FAILED
    return {
        "created": AppState.SUBMITTED,
        "running": AppState.RUNNING,
        "restarting": AppState.PENDING,
        "paused": AppState.PENDING,
        "removing": AppState.PENDING,
        "dead": AppState.FAILED,
    }.get(status, AppState.UNKNOWN)


def app_state(states: Iterable[AppState]) -> AppState:
    """Return the state of an application from those of its containers."""
    return min(states, key=_PRECEDENCE.index, default=AppState.SUCCEEDED)


def why_failed(attrs: Mapping[str, Any]) -> str:
    """Return in words why a container failed; *attrs* is the output of ``docker inspect``."""
    state, code = attrs["State"], attrs["State"]["ExitCode"]
    if state.get("OOMKilled"):
        return "ran out of memory"
    if state.get("Error"):
        return f"could not run: {state['Error']}"
    if code > 128 and code - 128 in set(signal.Signals):
        return f"was killed by {signal.Signals(code - 128).name} (exit code {code})"
    return f"ended with exit code {code}"
