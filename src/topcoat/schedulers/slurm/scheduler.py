"""Submit jobs to a Slurm cluster and manage them there (``slurm``)."""

from __future__ import annotations

import copy
import os
import posixpath
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from topcoat.errors import InvalidRunConfigException, SchedulerError, UsageError
from topcoat.schedulers.api import (
    DescribeAppResponse,
    Freeable,
    JobOutputs,
    ListAppResponse,
    ReplicaTimes,
    Scheduler,
    Stream,
)
from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.logs import filter_regex
from topcoat.schedulers.slurm import observe, old_snapshots
from topcoat.schedulers.slurm.client import MIN_AGE_S, SlurmClient
from topcoat.schedulers.slurm.containers import MountedPlan
from topcoat.schedulers.slurm.files import JobFiles, is_facts_directory, job_files, own_directory
from topcoat.schedulers.slurm.images import RoleImages
from topcoat.schedulers.slurm.logs import follow
from topcoat.schedulers.slurm.options import OTHER_CLUSTER, SlurmOpts, check_options
from topcoat.schedulers.slurm.partitions import Partitions
from topcoat.schedulers.slurm.patience import outlast, patient
from topcoat.schedulers.slurm.replicas import Replica
from topcoat.schedulers.slurm.request import (
    SlurmBatchRequest,
    check_app,
    check_size,
    make_request,
)
from topcoat.schedulers.slurm.snapshot import SnapshotWorkspace, absolute, shared_root
from topcoat.schedulers.slurm.ssh import open_site
from topcoat.schedulers.slurm.states import appstate_from_slurm_state, combined_state
from topcoat.schedulers.slurm.submit import discard, submit
from topcoat.schedulers.terminal import check_one_replica
from topcoat.specs import AppDef, AppDryRunInfo, AppState, CfgVal, Role, is_terminal, runopts
from topcoat.specs.delivery import Delivered, WorkspacePlan
from topcoat.workspace.api import MultiWorkspaceMixin, WorkspaceMixin
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin
from topcoat.workspace.plan import apply_images, apply_to_role

if TYPE_CHECKING:
    from docker import DockerClient

_APP_ID = re.compile(r"(\d{1,18})(?:@([^\s/]+))?", re.ASCII)
_CODE = "code"
_DELETE_TIMEOUT_S = 60.0
_REMOVE_TIMEOUT_S = 3600.0
_MAX_AGE_S = 15.0
_ASKED_PER_TIME = 20
# Jobs that have ended do not start again, except by hand.
_MAX_ENDED_AGE_S = 60.0
_MIN_ATTACH_POLL_S = 0.5


class SlurmScheduler(MultiWorkspaceMixin, Scheduler[SlurmOpts]):
    """Run each replica on a node of its own, in one job of Slurm (TorchX's name).

    The id of an application is Slurm's id of the job; over ssh it is ``ID@HOST``.
    """

    poll_interval: ClassVar[float] = 5.0

    def __init__(self, session_name: str, docker_client: DockerClient | None = None) -> None:
        super().__init__("slurm", session_name)
        self._snapshots = SnapshotWorkspace(lambda host: self._client(host).site)
        self._builders: dict[str, WorkspaceMixin[Any]] = {
            "dir": self._snapshots,
            "docker": DockerWorkspaceMixin(docker_client=docker_client),
        }
        self._clients: dict[str, SlurmClient] = {}
        # The jobs that have ended, by host, or why that is not known, and when it was asked.
        self._ended: dict[str, tuple[float, frozenset[str] | SchedulerError]] = {}
        self._partitions = Partitions(self._client)

    def close(self) -> None:
        """Close the connections to login nodes and container engines."""
        for client in self._clients.values():
            client.site.close()

    def workspace_builders(self) -> Mapping[str, WorkspaceMixin[Any]]:
        """Return the kinds of workspace: a directory, or an image in a registry."""
        return self._builders

    def _run_opts(self) -> runopts:
        return SlurmOpts.as_runopts()

    def _client(self, host: str) -> SlurmClient:
        if host not in self._clients:
            self._clients[host] = SlurmClient(open_site(host))
        return self._clients[host]

    def _find(self, app_id: str) -> tuple[SlurmClient, str] | None:
        match = _APP_ID.fullmatch(app_id)
        return (self._client(match[2] or ""), match[1]) if match else None

    def complete_cfg(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> Mapping[str, CfgVal]:
        """Check the options, and choose the directory of the snapshot: without ``job_dir`` the job has its own."""
        check_options(cfg)
        if os.environ.get("SBATCH_CLUSTERS") and not cfg.get("slurm_host"):
            raise InvalidRunConfigException(
                "SBATCH_CLUSTERS is set, which only sbatch reads: topcoat would not find the job",
                "sbatch",
                hint=f"unset SBATCH_CLUSTERS; {OTHER_CLUSTER}",
            )
        site = self._client(str(cfg.get("slurm_host") or "")).site
        if site.host and cfg.get("workspace_type") != "docker":
            self._snapshots.begin_scans(app.roles, cfg)
        if cfg.get("job_dir"):
            job_dir = os.path.expanduser(str(cfg["job_dir"])) if not site.host else str(cfg["job_dir"])
            path = os.path.abspath(job_dir) if not site.host else absolute(site, job_dir)
            return {**cfg, "job_dir": path}
        return {**cfg, "job_dir": f"{shared_root(site, cfg)}/{app_id}/{_CODE}"}

    def new_app_id(self, app: AppDef) -> str:
        """Return a new name for the job directory; Slurm chooses the id of the application at the submission."""
        return app_id_for(app.name)

    def _pre_build_validate(self, app: AppDef, scheduler: str, cfg: SlurmOpts) -> None:
        """Refuse what Slurm cannot run before anything is read or copied."""
        check_app(app, has_container=cfg.container != "none", interactive=cfg.interactive, nodelist=cfg.nodelist or "")
        self._partitions.check(app, cfg)

    def _validate(self, app: AppDef, scheduler: str, cfg: SlurmOpts) -> None:
        """Accept roles without a resource: the defaults of the partition apply."""

    def _images(self, cfg: Mapping[str, CfgVal]) -> RoleImages:
        return RoleImages(self._client(str(cfg.get("slurm_host") or "")).site, cfg)

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> WorkspacePlan | None:
        """Plan the snapshots, or the images; in a container a snapshot is mounted, and the image stays as it is."""
        container, (kind, _) = str(cfg.get("container") or "none"), self.workspace_builder(cfg)
        if not any(role.workspace for role in roles):
            return super().plan_workspaces(roles, cfg)
        if kind == "docker" and container in ("none", "oci"):
            raise InvalidRunConfigException(
                f"invalid workspace_type 'docker' with container={container}: the nodes run no image of a registry",
                self.WORKSPACE_TYPE_OPT,
                hint="-cfg container=pyxis or container=apptainer, or workspace_type=dir",
            )
        if kind == "docker" or container == "none":
            return super().plan_workspaces(roles, cfg)
        workdirs = {role.name: self._images(cfg).workdir(role) for role in roles if role.workspace}
        plan = super().plan_workspaces(copy.deepcopy(roles), cfg)
        if plan is None:
            return None
        mounted = MountedPlan(plan, workdirs)
        for role in roles:
            if role.workspace:
                apply_to_role(role, mounted.expected()[role.name])
        return mounted

    def build_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> None:
        """Deliver the workspaces at once."""
        if str(cfg.get("container") or "none") == "none":
            super().build_workspaces(roles, cfg)
        elif plan := self.plan_workspaces(roles, cfg):
            apply_images(roles, plan.carry_out())

    def update_request(self, dryrun_info: AppDryRunInfo[SlurmBatchRequest], delivered: Mapping[str, Delivered]) -> None:
        """Put the images with their digests into the request."""
        request, app = dryrun_info.request, dryrun_info.app
        for role in app.roles if app else ():
            if role.name not in delivered or dryrun_info.cfg.get("container", "none") == "none":
                continue
            container = self._images(dryrun_info.cfg).place(role, request.files).container
            for group in request.roles:
                if group.name == role.name:
                    group.srun_opts.update(container.srun)
                    group.wrapper[:] = container.wrapper
            for number in range(role.num_replicas):
                request.replicas[f"{role.name}-{number}"].env["TORCHX_IMAGE"] = role.image

    def _submit_dryrun(self, app: AppDef, cfg: SlurmOpts) -> AppDryRunInfo[SlurmBatchRequest]:
        return self._make_request(app, cfg, self.new_app_id(app))

    def _make_request(self, app: AppDef, cfg: SlurmOpts, app_id: str) -> AppDryRunInfo[SlurmBatchRequest]:
        site = self._client(cfg.slurm_host or "").site
        job_dir = str(cfg.job_dir or "")
        is_default = posixpath.basename(posixpath.dirname(job_dir)) == app_id
        files = job_files(app_id, shared_root(site, cfg), "" if is_default else job_dir)
        request = make_request(
            app,
            cfg,
            backend=self.backend,
            session_name=self.session_name,
            files=files,
            places={role.name: self._images(cfg).place(role, files) for role in app.roles},
            use_memory=self._partitions.have_memory(cfg),
        )
        request.bundles = [self._images(cfg).bundle(role, files) for role in app.roles if cfg.container == "oci"]
        request.facts["link"] = link = cfg.get("link", "copy")
        if link == "hard":
            request.delivered = self._snapshots.delivered_to(request.facts["snapshots"])
        check_size(request)
        return AppDryRunInfo(request, str)

    def schedule(self, dryrun_info: AppDryRunInfo[SlurmBatchRequest]) -> str:
        """Write the job's files and submit it; if Slurm refuses it, remove them.

        Raises:
            SchedulerError: Slurm cannot be reached or refuses the job, or the shared directory cannot be written.
        """
        cfg = dryrun_info.cfg
        host = str(cfg.get("slurm_host") or "")
        if failure := self._partitions.failure(cfg):
            discard(self._client(host), dryrun_info.request)
            raise failure
        job_id = submit(self._client(host), dryrun_info.request, str(cfg.get("container") or "none"))
        return observe.app_id_of(job_id, host)

    def abandon(self, dryrun_info: AppDryRunInfo[SlurmBatchRequest]) -> None:
        """Remove the job's own directory: of several roles, some may have their code already."""
        discard(self._client(str(dryrun_info.cfg.get("slurm_host") or "")), dryrun_info.request)

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Return what Slurm and the job's directory say of an application.

        Raises:
            SchedulerError: Slurm cannot be reached.
        """
        found = self._find(app_id)
        return None if found is None else observe.describe(app_id, *found)

    def describe_patiently(self, app_id: str) -> DescribeAppResponse | None:
        """Return what `describe` returns; bear it for five minutes that Slurm cannot be reached."""
        return outlast(partial(self.describe, app_id))

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return this user's jobs that topcoat submitted: those that Slurm has in memory, and those of two weeks."""
        return observe.list_jobs(self._client(str((cfg or {}).get("slurm_host") or "")))

    def _cancel_existing(self, app_id: str) -> None:
        # A component's own id would end only the step of the others.
        if found := self._find(app_id):
            client, job_id = found
            client.cancel(job_id)

    def _delete_existing(self, app_id: str) -> None:
        """Cancel the job, wait for its end, and remove its directory; a directory of ``job_dir`` stays."""
        found = self._find(app_id)
        if found is None:
            return
        client, job_id = found
        directory = observe.job_directory(client, job_id)
        if directory and not is_facts_directory(directory):
            raise _foreign(app_id)
        if not self._has_ended(client, job_id):
            client.cancel(job_id)
            self._wait_for_end(client, job_id)
        if is_facts_directory(directory):
            own = own_directory(JobFiles(directory))
            try:
                client.site.remove_tree(own, timeout_s=_REMOVE_TIMEOUT_S)
            except OSError as error:
                raise SchedulerError(f"cannot remove the job directory {own}: {error.strerror or error}") from error

    def _wait_for_end(self, client: SlurmClient, job_id: str) -> None:
        deadline = time.monotonic() + _DELETE_TIMEOUT_S
        while not self._has_ended(client, job_id, max_age_s=0.0):
            if time.monotonic() > deadline:
                raise SchedulerError(f"the job {job_id} does not end", hint=f"see: scontrol show job {job_id}")
            time.sleep(0.2)

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
        """Return the log lines of one replica, by default of both outputs together.

        The first replica's standard error has also what Slurm and the batch script say.
        """
        if since or until:
            raise UsageError(
                "the scheduler 'slurm' does not know when a line was written", hint="leave --since and --until out"
            )
        client, job_id, files, roles = self._job(app_id)
        replicas = [(role.name, number) for role in roles for number in range(role.num_replicas)]
        if (role_name, k) not in replicas:
            raise self._no_replica(app_id, role_name, k, replicas)
        stream = Stream.COMBINED if streams is None else Stream(streams)
        paths = [files.log(role_name, k, "out")] if stream is not Stream.STDERR else []
        if stream is not Stream.STDOUT:
            paths.append(files.log(role_name, k, "err"))
            paths += [files.batch_log] if (role_name, k) == replicas[0] else []
        has_ended = patient(self._ends_of(client, job_id)) if should_tail else None
        lines = follow(client.site, paths, whole=regex is not None, has_ended=has_ended)
        return lines if regex is None else filter_regex(regex, lines)

    def _ends_of(self, client: SlurmClient, job_id: str) -> Callable[[], bool]:
        """Return a function that tells whether a job has ended; the longer it runs, the more seldom is Slurm asked."""
        began = time.monotonic()

        def has_ended() -> bool:
            age = (time.monotonic() - began) / _ASKED_PER_TIME
            return self._has_ended(client, job_id, max_age_s=min(max(age, MIN_AGE_S), _MAX_AGE_S))

        return has_ended

    def _has_ended(self, client: SlurmClient, job_id: str, max_age_s: float = MIN_AGE_S) -> bool:
        rows = client.queue(job_id, max_age_s=max_age_s)
        return all(is_terminal(appstate_from_slurm_state(row.state)) for row in rows)

    def replica_times(self, app_id: str) -> Sequence[ReplicaTimes]:
        """Return when each replica started and ended, and its exit code, as its own record says."""
        client, _, files, roles = self._job(app_id)
        records = client.facts(files.directory).records

        def moment(seconds: float | None) -> datetime | None:
            return None if seconds is None else datetime.fromtimestamp(seconds).astimezone()

        times = []
        for role in roles:
            for number in range(role.num_replicas):
                record = records.get(f"{role.name}-{number}")
                started, ended, code = (record.started, record.ended, record.exit_code) if record else (None,) * 3
                times.append(ReplicaTimes(role.name, number, moment(started), moment(ended), code))
        return times

    def execute(self, app_id: str, role: str, replica: int, command: Sequence[str], *, tty: bool = False) -> int:
        """Run a command beside the process of a running replica."""
        found = self._replica(app_id, role, replica)
        if not found.is_running:
            raise SchedulerError(f"{role}/{replica} of the job {app_id} does not run", hint="topcoat status shows why")
        return found.execute(command, tty=tty)

    def make_interactive(self, dryrun_info: AppDryRunInfo[SlurmBatchRequest]) -> None:
        """Let the job wait for a terminal, as ``interactive=true`` does."""
        check_one_replica(sum(role.num_replicas for role in dryrun_info.app.roles) if dryrun_info.app else 1)
        dryrun_info.request.interactive = dryrun_info.request.facts["interactive"] = True

    def attach(self, app_id: str, role: str, replica: int) -> None:
        """Run the replica of a job with ``interactive=true`` in this terminal, once the job has its node."""
        found = self._replica(app_id, role, replica)
        if not found.facts.app.get("interactive"):
            raise UsageError(
                f"the job {app_id} has no terminal: it was not submitted with interactive=true",
                hint="topcoat log -f shows its output; topcoat run -i",
            )
        pause = _MIN_ATTACH_POLL_S
        ask = partial(found.client.queue, found.job_id)
        while not (rows := [row for row in outlast(ask) if row.state == "RUNNING"]):
            if self._has_ended(found.client, found.job_id):
                raise SchedulerError(f"the job {app_id} has ended", hint="topcoat status shows why")
            time.sleep(pause)
            pause = min(pause * 1.5, self.poll_interval)
        found.attach(rows[0].nodes)

    def copy_from(self, app_id: str, role: str, replica: int, path: str, destination: str | os.PathLike[str]) -> None:
        """Copy a file or directory of a replica to this machine; of one that has ended, from the shared directories."""
        self._replica(app_id, role, replica).copy_from(path, destination)

    def copy_to(self, app_id: str, role: str, replica: int, source: str | os.PathLike[str], path: str) -> None:
        """Copy a local file or directory into a replica."""
        self._replica(app_id, role, replica).copy_to(source, path)

    def _replica(self, app_id: str, role: str, number: int) -> Replica:
        client, job_id, files, roles = self._job(app_id)
        replicas = [(each.name, k) for each in roles for k in range(each.num_replicas)]
        if (role, number) not in replicas:
            raise self._no_replica(app_id, role, number, replicas)
        facts = client.facts(files.directory)
        states = [appstate_from_slurm_state(row.state) for row in client.queue(job_id)]
        record = facts.records.get(f"{role}-{number}")
        is_running = combined_state(states) is AppState.RUNNING and record is not None and record.exit_code is None
        return Replica(client, job_id, files, facts, role, number, is_running)

    def outputs(self, app_id: str) -> JobOutputs | None:
        """Return the files that the job made or changed in its snapshots."""
        try:
            client, _, files, _ = self._job(app_id)
        except UsageError:
            return None
        facts = client.facts(files.directory)
        snapshots = [str(path) for path in facts.app.get("snapshots", [])]
        written = client.written_files(snapshots, files, are_linked=facts.app.get("link") == "hard")
        if not written:
            return None
        parent = posixpath.commonpath(snapshots)
        own = own_directory(files)
        are_deleted = parent == own or parent.startswith(f"{own}/")
        return JobOutputs(parent, [posixpath.relpath(path, parent) for path in written], are_deleted)

    def freeable(self, cfg: Mapping[str, CfgVal] | None = None) -> Sequence[Freeable]:
        """Return the snapshots that no job uses, at the site that *cfg* names.

        Without *cfg*: at the sites that this object has used; else of this machine's Slurm.
        """
        hosts = list(self._clients) or [""] if cfg is None else [str(cfg.get("slurm_host") or "")]
        return [item for host in hosts for item in old_snapshots.freeable(self._client(host))]

    def free(self, item: Freeable) -> None:
        """Remove a snapshot, unless a job uses it by now; files that a job wrote stay."""
        host = old_snapshots.split_id(item.id)[0]
        asked, ended = self._ended.get(host, (float("-inf"), frozenset()))
        if time.monotonic() - asked > _MAX_ENDED_AGE_S:
            try:
                ended = frozenset(old_snapshots.ended_jobs(self._client(host)))
            except SchedulerError as error:
                ended = error
            self._ended[host] = time.monotonic(), ended
        if isinstance(ended, SchedulerError):
            raise ended
        old_snapshots.free(self._client(host), item, ended)

    def _job(self, app_id: str) -> tuple[SlurmClient, str, JobFiles, Sequence[Role]]:
        """Return where a job of topcoat is, its files and its roles.

        Raises:
            UsageError: topcoat did not submit it, or its directory is gone.
        """
        found = self._find(app_id)
        if found is not None:
            client, job_id = found
            directory = observe.job_directory(client, job_id)
            if is_facts_directory(directory):
                roles = client.facts(directory).roles()
                if roles:
                    return client, job_id, JobFiles(directory), roles
                raise UsageError(f"the directory of the job {app_id} is gone: {directory}")
        raise _foreign(app_id)


def _foreign(app_id: str) -> UsageError:
    return UsageError(f"the job {app_id} was not submitted by topcoat", hint="topcoat list -s slurm")


def create_scheduler(session_name: str, docker_client: DockerClient | None = None, **kwargs: object) -> SlurmScheduler:
    """Return the scheduler ``slurm``."""
    return SlurmScheduler(session_name, docker_client)
