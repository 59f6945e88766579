"""Build the request for a local application: commands, environments, directories, log files. No side effects."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from topcoat.errors import InvalidApp
from topcoat.schedulers.env import RANK0_ENV, job_env
from topcoat.specs import AppDef, CfgVal, Role, macros

CUDA = "CUDA_VISIBLE_DEVICES"


@dataclass
class ReplicaParam:
    """Hold what one replica runs; *env* is added to the environment of the submitting process.

    With *terminal*, the path of one, the process uses it for input and output, and its logs are written elsewhere.

    The scheduler sets all fields; those with a default need not be given by an image provider.
    """

    args: list[str]
    env: dict[str, str]
    stdout: str | None = None
    stderr: str | None = None
    combined: str | None = None
    cwd: str | None = None
    terminal: str | None = None


@dataclass
class RoleStart:
    """Hold where a role runs, and what makes the parameters of a replica from (role, stdout, stderr, combined).

    *role* has the macros substituted and the whole environment of the replica.
    """

    img_root: str
    cwd: str
    replica_param: Callable[[Role, str, str, str], ReplicaParam]


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
    start: Callable[[Role], RoleStart],
    extra_paths: Sequence[str] = (),
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
        start: says how a role starts.
        extra_paths: directories of programs, before the PATH of a role.
        gpus: number of GPUs to distribute over the replicas; 0 sets no ``CUDA_VISIBLE_DEVICES``.

    Raises:
        InvalidApp: the name of a role cannot be used for a directory.
    """
    request = PopenRequest(app_id, log_dir)
    visible = share_gpus(app, gpus)
    for role in app.roles:
        if role.name in ("", ".", "..") or "/" in role.name or "\0" in role.name:
            raise InvalidApp(f"invalid role name {role.name!r}: not a directory name", hint="rename the role")
        starts = start(role)
        cwd = starts.cwd
        request.role_params[role.name] = []
        request.role_log_dirs[role.name] = []
        for replica_id in range(role.num_replicas):
            logs = os.path.join(log_dir, role.name, str(replica_id))
            values = macros.Values(starts.img_root, app_id, str(replica_id), RANK0_ENV)
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
                # torchrun's --log_dir, so that the logs of its workers are kept with the others.
                "PET_LOG_DIR": os.path.join(log_dir, "torchelastic", role.name),
                "PYTHONUNBUFFERED": os.environ.get("PYTHONUNBUFFERED", "1"),
                **visible.get((role.name, replica_id), {}),
                **replica.env,
            }
            if role.workspace and os.environ.get("PYTHONPATH"):
                # The workspace comes first, then the user's own.
                env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH"), os.environ["PYTHONPATH"])))
            role_path = os.pathsep.join(filter(None, (*extra_paths, replica.env.get("PATH"))))
            env["PATH"] = _path(role_path, cwd, cwd_first=bool(cfg.get("prepend_cwd")))
            replica.env = env
            files = [os.path.join(logs, f"{stream}.log") for stream in ("stdout", "stderr", "combined")]
            request.role_params[role.name].append(starts.replica_param(replica, files[0], files[1], files[2]))
            request.role_log_dirs[role.name].append(logs)
    return request


def _path(role_path: str, cwd: str, *, cwd_first: bool) -> str:
    inherited = os.environ.get("PATH", os.defpath)
    # A colon in a directory's name would split the list.
    cwd = "" if os.pathsep in cwd else cwd
    parts = (cwd, role_path, inherited) if cwd_first else (role_path, inherited, cwd)
    # The directory of topcoat's own interpreter comes last, in case no other one has a `python`.
    return os.pathsep.join(filter(None, (*parts, os.path.dirname(sys.executable))))


def share_gpus(app: AppDef, gpus: int) -> dict[tuple[str, int], dict[str, str]]:
    """Distribute *gpus* in order, to each replica as many as its resource says; to none if there are too few."""
    requests = [
        (role.name, replica_id, role.resource.gpu)
        for role in app.roles
        if role.resource.gpu > 0
        for replica_id in range(role.num_replicas)
    ]
    if sum(count for *_, count in requests) > gpus:
        return {}
    shares, next_gpu = {}, 0
    for role, replica_id, count in requests:
        numbers = range(next_gpu, next_gpu + count)
        shares[role, replica_id] = {CUDA: ",".join(map(str, numbers))}
        next_gpu += count
    return shares
