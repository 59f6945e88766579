"""Run applications as processes of this machine, in place (``local_cwd``).

The jobs are kept in the state directory: they outlive the shell that started them, and any shell of the same user can
show their status and logs, and cancel them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any, ClassVar

from topcoat.errors import StateError, TopcoatError, UsageError
from topcoat.foreign_text import escaped
from topcoat.notices import notice_if_slow
from topcoat.regular_files import open_regular
from topcoat.scan.sources import current_directory
from topcoat.schedulers.api import DescribeAppResponse, ListAppResponse, ReplicaTimes, Scheduler, Stream, StructuredOpts
from topcoat.schedulers.env import RANK0_ENV
from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.app_json import role_from_dict, role_to_dict
from topcoat.schedulers.local.image_providers import CWDImageProvider, ImageProvider
from topcoat.schedulers.local.job_records import JOB
from topcoat.schedulers.local.process import run
from topcoat.schedulers.local.replica import GRACE_S
from topcoat.schedulers.local.request import PopenRequest, ReplicaParam, RoleStart, make_request
from topcoat.schedulers.logs import MAX_ERROR_FILE, error_text, follow
from topcoat.specs import (
    NONE,
    AppDef,
    AppDryRunInfo,
    AppState,
    CfgVal,
    ReplicaStatus,
    Role,
    RoleStatus,
    is_terminal,
    macros,
    runopts,
)

__all__ = ["LocalScheduler", "Opts", "PopenRequest", "ReplicaParam", "create_scheduler"]


@dataclass
class Opts(StructuredOpts):
    """The run options of ``local_cwd``."""

    log_dir: str | None = None
    """directory to keep logs in (default: with the job, in the state directory)"""

    prepend_cwd: bool = False
    """search the working directory for programs before PATH, not after it"""

    auto_set_cuda_visible_devices: bool = False
    """distribute this machine's GPUs over the replicas (CUDA_VISIBLE_DEVICES), as their resources say"""


class LocalScheduler(Scheduler[Mapping[str, CfgVal]]):
    """Run every replica as a process in the current directory; images are ignored.

    A replica gets the environment of the submitting process, with the role's and topcoat's variables added.
    """

    poll_interval: ClassVar[float] = 0.5

    def __init__(
        self,
        session_name: str,
        image_provider_class: Callable[[Mapping[str, CfgVal]], ImageProvider] = CWDImageProvider,
        cache_size: int = 100,
        extra_paths: Sequence[str] | None = None,
        *,
        backend: str = "local_cwd",
    ) -> None:
        """Take TorchX's arguments.

        Args:
            session_name: the session in the handles.
            image_provider_class: says where a role runs and what it runs; called with the run options.
            cache_size: of no effect: the jobs are kept in the state directory, not in memory.
            extra_paths: directories of programs, before the PATH of a role.
            backend: the scheduler's name.
        """
        super().__init__(backend, session_name)
        if cache_size < 1:
            raise UsageError(f"invalid cache_size {cache_size}: it is at least 1")
        self._image_provider_class = image_provider_class
        self._extra_paths = tuple(extra_paths or ())

    def _run_opts(self) -> runopts:
        return Opts.as_runopts()

    def _validate(self, app: AppDef, scheduler: str, cfg: Mapping[str, CfgVal]) -> None:
        """Accept roles without a resource: resources are advisory for local jobs."""

    def new_app_id(self, app: AppDef) -> str:
        """Return a new id, made from the application's name."""
        return app_id_for(app.name)

    def _start(self, role: Role, provider: ImageProvider) -> RoleStart:
        root = provider.fetch_role(role)
        cwd = provider.get_cwd(role.image) or current_directory()

        def replica_param(replica: Role, stdout: str, stderr: str, combined: str) -> ReplicaParam:
            return replace(provider.get_replica_param(root, replica, stdout, stderr, combined), cwd=cwd)

        return RoleStart(root, cwd, replica_param)

    def _submit_dryrun(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> AppDryRunInfo[PopenRequest]:
        return self._make_request(app, cfg, self.new_app_id(app))

    def _make_request(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> AppDryRunInfo[PopenRequest]:
        log_dir = cfg.get("log_dir")
        provider = self._image_provider_class(cfg)
        request = make_request(
            app,
            cfg,
            backend=self.backend,
            session_name=self.session_name,
            app_id=app_id,
            log_dir=os.path.abspath(os.path.join(os.path.expanduser(str(log_dir)), self.session_name, app_id))
            if log_dir
            else str(local_jobs.directory(app_id) / "logs"),
            start=lambda role: self._start(role, provider),
            extra_paths=self._extra_paths,
            gpus=cuda_device_count() if cfg.get("auto_set_cuda_visible_devices") else 0,
        )
        return AppDryRunInfo(request, str)

    def schedule(self, dryrun_info: AppDryRunInfo[PopenRequest]) -> str:
        """Start the processes of the request; see ``jobs.start``."""
        request, app = dryrun_info.request, dryrun_info.app
        roles = [] if app is None else app.roles
        retries = {role.name: {"policy": role.retry_policy.value, "max": role.max_retries} for role in roles}
        job = {
            "name": request.app_id if app is None else app.name,
            "scheduler": self.backend,
            "metadata": {} if app is None else app.metadata,
            **self._job_dir_facts(dryrun_info),
            "log_dir": request.log_dir,
            "roles": [role_to_dict(role) for role in roles],
            "retries": {role: retries.get(role, {"policy": "REPLICA", "max": 0}) for role in request.role_params},
            "replicas": [
                {"role": role, "id": replica_id, "error_file": param.env["TORCHELASTIC_ERROR_FILE"], **asdict(param)}
                for role, params in request.role_params.items()
                for replica_id, param in enumerate(params)
            ],
        }
        local_jobs.start(request.app_id, job)
        return request.app_id

    def _job_dir_facts(self, dryrun_info: AppDryRunInfo[PopenRequest]) -> dict[str, Any]:
        return {}

    def _load(self, app_id: str) -> local_jobs.LocalJob | None:
        job = local_jobs.load(app_id)
        return job if job is not None and job.job["scheduler"] == self.backend else None

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Return what the state directory holds of a job."""
        job = self._load(app_id)
        if job is None:
            return None
        roles = [_apply_macros(role, job) for role in _roles(job)]
        statuses: dict[str, RoleStatus] = {}
        host, logs = job.job["host"].split()[0], job.logs
        errors = []
        for replica in job.status["replicas"]:
            role, state = replica["role"], AppState[replica["state"]]
            files = logs.get((role, replica["id"])) if state is AppState.FAILED else None
            error = _error(files["error_file"]) if files else None
            if error:
                errors.append(error)
            statuses.setdefault(role, RoleStatus(role, [])).replicas.append(
                ReplicaStatus(replica["id"], state, role, host, error[1] if error else NONE)
            )
        return DescribeAppResponse(
            app_id=app_id,
            state=job.state,
            num_restarts=job.status["num_restarts"],
            msg=job.status["msg"],
            structured_error_msg=min(errors)[1] if errors else NONE,
            ui_url=f"file://{job.job.get('log_dir') or job.directory}",
            metadata=job.job.get("metadata") or {},
            roles_statuses=list(statuses.values()),
            roles=roles,
        )

    def replica_times(self, app_id: str) -> Sequence[ReplicaTimes]:
        """Return what the supervisor has recorded."""
        job = self._load(app_id)
        return [
            ReplicaTimes(
                replica["role"],
                replica["id"],
                _time(replica.get("started_at")),
                _time(replica.get("ended_at")),
                _shell_code(replica["exit_code"]),
            )
            for replica in (job.status["replicas"] if job else ())
        ]

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return this scheduler's jobs, the newest first."""
        return [
            ListAppResponse(job.directory.name, job.state, name=job.job.get("name") or "")
            for job in local_jobs.load_all()
            if job.job["scheduler"] == self.backend
        ]

    def _cancel_existing(self, app_id: str) -> None:
        job = self._load(app_id)
        if job is not None:
            local_jobs.cancel(job)

    def _delete_existing(self, app_id: str) -> None:
        self._cancel_existing(app_id)
        deadline = time.monotonic() + 2 * GRACE_S
        with notice_if_slow(f"waiting for {app_id} to end"):
            while (job := self._load(app_id)) and not is_terminal(job.state) and time.monotonic() < deadline:
                time.sleep(0.05)
        if job is not None:
            local_jobs.remove(job)

    def log_iter(
        self,
        app_id: str,
        role_name: str,
        k: int = 0,
        regex: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        should_tail: bool = False,
        streams: Stream | None = None,
    ) -> Iterable[str]:
        """Return the lines of one replica's log, by default of both outputs together."""
        job = self._load(app_id)
        files = {} if job is None else job.logs.get((role_name, k), {})
        if not files:
            raise self._no_replica(app_id, role_name, k, () if job is None else job.logs)

        def has_ended() -> bool:
            job = self._load(app_id)
            return job is None or is_terminal(job.state)

        stream = Stream.COMBINED if streams is None else Stream(streams)
        done = has_ended if should_tail else None
        return follow(files[stream.value], regex=regex, since=since, until=until, done=done)


def _roles(job: local_jobs.LocalJob) -> list[Role]:
    try:
        return [role_from_dict(role) for role in job.job.get("roles") or []]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise StateError(
            f"cannot read the job {escaped(job.directory.name)}: {JOB}: invalid role: {escaped(str(error))}",
            hint=f"if it is not needed: rm -r {job.directory}",
        ) from error


def _apply_macros(role: Role, job: local_jobs.LocalJob) -> Role:
    """Return *role* with the macros replaced that have the same value in all of its replicas."""
    cwd = next((replica["cwd"] for replica in job.job["replicas"] if replica["role"] == role.name), "")
    return macros.Values(cwd or macros.img_root, job.directory.name, macros.replica_id, RANK0_ENV).apply(role)


def _error(path: str) -> tuple[float, str] | None:
    """Return when an error file was written and its text, ``None`` if it is missing, empty, a link or no file."""
    with contextlib.suppress(OSError), open_regular(path, follow_links=False) as file:
        text = error_text(file.read(MAX_ERROR_FILE + 1))
        return (os.fstat(file.fileno()).st_mtime, text) if text else None
    return None


def cuda_device_count() -> int:
    """Return the number of GPUs that ``nvidia-smi`` lists, 0 if it does not exist or fails."""
    try:
        finished = run(["nvidia-smi", "-L"], timeout=20)
    except TopcoatError:
        return 0
    return len(finished.stdout.splitlines()) if finished.exit_code == 0 else 0


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def _shell_code(exit_code: int | None) -> int | None:
    return 128 - exit_code if exit_code is not None and exit_code < 0 else exit_code


def create_scheduler(session_name: str, **kwargs: object) -> LocalScheduler:
    """Return the scheduler ``local_cwd``; *kwargs* may have the arguments of ``LocalScheduler``."""
    names = ("image_provider_class", "cache_size", "extra_paths")
    own: dict[str, Any] = {name: kwargs[name] for name in names if name in kwargs}
    return LocalScheduler(session_name, **own)
