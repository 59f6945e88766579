"""What a local application runs: commands, environments, directories, log files. No side effects."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from topcoat.errors import InvalidApp
from topcoat.schedulers.env import RANK0_ENV, job_env
from topcoat.specs import AppDef, CfgVal, Role, macros

CUDA = "CUDA_VISIBLE_DEVICES"


@dataclass
class ReplicaParam:
    """Hold what one replica runs; *env* is added to the environment of whoever submits."""

    args: list[str]
    env: dict[str, str]
    stdout: str
    stderr: str
    combined: str
    cwd: str


@dataclass
class PopenRequest:
    """Hold what an application runs; lists are indexed by replica (TorchX's names)."""

    app_id: str
    log_dir: str
    role_params: dict[str, list[ReplicaParam]] = field(default_factory=dict)
    role_log_dirs: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        import yaml

        return yaml.safe_dump(asdict(self), sort_keys=False, width=120)


def make_request(
    app: AppDef,
    cfg: Mapping[str, CfgVal],
    *,
    backend: str,
    session_name: str,
    app_id: str,
    log_dir: str,
    root: Callable[[Role], str],
    gpus: int = 0,
) -> PopenRequest:
    """Return the request for *app*.

    Args:
        app: the application; its images are final.
        cfg: the resolved run options.
        backend: name of the scheduler.
        session_name: second part of the handle.
        app_id: the application's id.
        log_dir: where its logs go, as ``ROLE/REPLICA/stdout.log`` and so on.
        root: says in which directory a role runs.
        gpus: how many there are to share out among the replicas; 0 leaves that to the replicas.

    Raises:
        InvalidApp: a role has a name that cannot be one of a directory.
    """
    request = PopenRequest(app_id, log_dir)
    visible = share_gpus(app, gpus)
    for role in app.roles:
        if role.name in ("", ".", "..") or "/" in role.name or "\0" in role.name:
            raise InvalidApp(f"the role name {role.name!r} cannot be a directory's", hint="rename the role")
        cwd = root(role)
        request.role_params[role.name] = []
        request.role_log_dirs[role.name] = []
        for replica_id in range(role.num_replicas):
            logs = os.path.join(log_dir, role.name, str(replica_id))
            values = macros.Values(cwd, app_id, str(replica_id), RANK0_ENV)
            replica = values.apply(role)
            env = {
                **job_env(
                    backend=backend,
                    session_name=session_name,
                    app_id=app_id,
                    role=role,
                    replica_id=replica_id,
                    rank0_host="localhost",
                ),
                "TORCHELASTIC_ERROR_FILE": os.path.join(logs, "error.json"),
                # As torchrun's --log_dir: what its workers write stays with the other logs.
                "PET_LOG_DIR": os.path.join(log_dir, "torchelastic", role.name),
                "PYTHONUNBUFFERED": os.environ.get("PYTHONUNBUFFERED", "1"),
                **visible.get((role.name, replica_id), {}),
                **replica.env,
            }
            if role.workspace and os.environ.get("PYTHONPATH"):
                # The workspace comes first; it does not hide what the user has besides.
                env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH"), os.environ["PYTHONPATH"])))
            env["PATH"] = _path(replica.env.get("PATH", ""), cwd, first=bool(cfg.get("prepend_cwd")))
            request.role_params[role.name].append(
                ReplicaParam(
                    args=[replica.entrypoint, *replica.args],
                    env=env,
                    stdout=os.path.join(logs, "stdout.log"),
                    stderr=os.path.join(logs, "stderr.log"),
                    combined=os.path.join(logs, "combined.log"),
                    cwd=cwd,
                )
            )
            request.role_log_dirs[role.name].append(logs)
    return request


def _path(own: str, cwd: str, *, first: bool) -> str:
    inherited = os.environ.get("PATH", os.defpath)
    parts = (cwd, own, inherited) if first else (own, inherited, cwd)
    # Last, so that `python` is found where only the virtual environment that topcoat runs in has one of that name.
    return os.pathsep.join(filter(None, (*parts, os.path.dirname(sys.executable))))


def share_gpus(app: AppDef, gpus: int) -> dict[tuple[str, int], dict[str, str]]:
    """Share *gpus* out in order, to each replica what its resource says; to nobody if there are too few."""
    wanted = [
        (role.name, replica_id, role.resource.gpu)
        for role in app.roles
        if role.resource.gpu > 0
        for replica_id in range(role.num_replicas)
    ]
    if sum(count for *_, count in wanted) > gpus:
        return {}
    shares, next_gpu = {}, 0
    for role, replica_id, count in wanted:
        numbers = range(next_gpu, next_gpu + count)
        shares[role, replica_id] = {CUDA: ",".join(map(str, numbers))}
        next_gpu += count
    return shares
