"""Run applications on AWS Batch (``aws_batch``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from topcoat.errors import InvalidHandle, UsageError
from topcoat.notices import notice
from topcoat.schedulers.api import DescribeAppResponse, Freeable, ListAppResponse, ReplicaTimes, Scheduler, Stream
from topcoat.schedulers.aws_batch import jobs as batch_jobs
from topcoat.schedulers.aws_batch.checks import check_app
from topcoat.schedulers.aws_batch.client import Batch
from topcoat.schedulers.aws_batch.container import platform_of
from topcoat.schedulers.aws_batch.jobs import CANCELLED, UNFINISHED, WAITING, Job, Node, job_state
from topcoat.schedulers.aws_batch.logs import read_log
from topcoat.schedulers.aws_batch.options import AWSBatchOpts, check_options, queue_name
from topcoat.schedulers.aws_batch.queue import Queue
from topcoat.schedulers.aws_batch.request import TAG_TORCHX_APPNAME, BatchJob, make_job, name_definition, set_images
from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.image_entrypoint import add_image_entrypoint
from topcoat.schedulers.logs import filter_regex
from topcoat.specs import AppDef, AppDryRunInfo, CfgVal, RetryPolicy, Role, is_terminal, runopts
from topcoat.specs.default_image import check_role_images
from topcoat.specs.delivery import Delivered
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin
from topcoat.workspace.hooks import RunsFrom

if TYPE_CHECKING:
    from docker import DockerClient


class AWSBatchScheduler(DockerWorkspaceMixin, Scheduler[AWSBatchOpts]):
    """Run every application as one job: of one container, or of several nodes with a node group for each role.

    boto3 finds region, profile and credentials.
    """

    runs_from: ClassVar[RunsFrom | None] = RunsFrom.REGISTRY

    def __init__(
        self,
        session_name: str,
        client: Any = None,
        log_client: Any = None,
        docker_client: DockerClient | None = None,
    ) -> None:
        """Use the boto3 clients *client* (``batch``) and *log_client* (``logs``); by default make them."""
        super().__init__("aws_batch", session_name, docker_client=docker_client)
        self._batch = Batch(client, log_client)
        self._queues: dict[str, Queue] = {}
        # AWS lists a job only a moment after it was submitted.
        self._submitted: dict[str, str] = {}

    def close(self) -> None:
        """Close the connections."""
        self._batch.close()
        self.close_connections()

    def _run_opts(self) -> runopts:
        opts = AWSBatchOpts.as_runopts()
        add_image_entrypoint(opts, ("keep",))
        return opts

    def role_platform(self, role: Role, cfg: Mapping[str, CfgVal]) -> str:
        """Return the platform of the role's instance type."""
        return platform_of(role)

    def _queue(self, text: str) -> Queue:
        if text not in self._queues:
            self._queues[text] = self._batch.queue(text)
        return self._queues[text]

    def _pre_build_validate(self, app: AppDef, scheduler: str, cfg: AWSBatchOpts) -> None:
        """Check the options, then ask AWS for the queue, and check that it can run the application."""
        check_options(cfg)
        if any(role.workspace for role in app.roles):
            # A missing repository is an error before any host is contacted.
            self._options(cfg)
        check_role_images(app.roles)
        for role in app.roles:
            is_alone = role.retry_policy is RetryPolicy.APPLICATION or len(app.roles) == role.num_replicas == 1
            if role.max_retries and not is_alone:
                notice(f"AWS Batch restarts all nodes of a job, not one {role.retry_policy.value.lower()}: {role.name}")
        # A queue may have been changed since the last submission.
        self._queues.pop(cfg.queue, None)
        check_app(app, cfg, self._queue(cfg.queue))

    def new_app_id(self, app: AppDef) -> str:
        """Return a new name for the job: the second part of the id ``queue:name``."""
        return re.sub(r"[^A-Za-z0-9_-]", "-", app_id_for(app.name)).lstrip("-_")

    def _submit_dryrun(self, app: AppDef, cfg: AWSBatchOpts) -> AppDryRunInfo[BatchJob]:
        return self._make_request(app, cfg, self.new_app_id(app))

    def _make_request(self, app: AppDef, cfg: AWSBatchOpts, app_id: str) -> AppDryRunInfo[BatchJob]:
        images_to_push = self.dryrun_push_images(app, cfg)
        job = make_job(
            app,
            cfg,
            self._queue(cfg.queue),
            backend=self.backend,
            session_name=self.session_name,
            name=app_id,
            platforms={role.name: str(cfg.get("platform") or platform_of(role)) for role in app.roles},
        )
        job.images_to_push = images_to_push
        return AppDryRunInfo(job, str)

    def update_request(self, dryrun_info: AppDryRunInfo[BatchJob], delivered: Mapping[str, Delivered]) -> None:
        """Put the images with their digests into the job definition."""
        set_images(dryrun_info.request, {role: result.image for role, result in delivered.items()})

    def schedule(self, dryrun_info: AppDryRunInfo[BatchJob]) -> str:
        """Push what is not pushed yet, register the job definition unless AWS has it, and submit the job.

        Raises:
            SchedulerError: AWS refuses, or cannot be reached.
        """
        job = dryrun_info.request
        self.push_images(job.images_to_push)
        # The caller may have changed the request.
        name_definition(job)
        definition = self._batch.register(job.job_def)
        self._submitted[job.app_id] = self._batch.submit({**job.submission, "jobDefinition": definition})
        return job.app_id

    def _find(self, app_id: str) -> Job | None:
        """Return what AWS knows of a job, its summary included; ``None`` if it knows none of this id."""
        queue, colon, name = app_id.rpartition(":")
        if not (colon and name and queue_name(queue)):
            raise InvalidHandle(
                f"invalid AWS Batch application id {app_id!r}: expected queue:name",
                hint="topcoat list -s aws_batch shows the ids",
            )
        summary = self._batch.find(queue, name)
        job_id = str(summary["jobId"]) if summary else self._submitted.get(app_id)
        found = self._batch.describe([job_id]) if job_id else []
        if not found:
            return None
        # The summary has the exit code of a job before its description has it.
        container = {**((summary or {}).get("container") or {}), **(found[0].get("container") or {})}
        return {**(summary or {}), **found[0], **({"container": container} if container else {})}

    def _node_details(self, job: Job) -> dict[int, Job]:
        """Return what AWS knows of the nodes of a job, by their numbers."""
        if not batch_jobs.is_multi_node(job):
            return {0: job}
        ids = [f"{job['jobId']}#{node.number}" for node in batch_jobs.nodes_of(job)]
        numbers = {job_id: number for number, job_id in enumerate(ids)}
        return {numbers[item["jobId"]]: item for item in self._batch.describe(ids) if item.get("jobId") in numbers}

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Return what AWS knows of a job, with the reason why it waits or failed."""
        job = self._find(app_id)
        if job is None:
            return None
        details = self._node_details(job)
        reason = batch_jobs.why(job, details)
        if job.get("status") in WAITING:
            stuck = self._batch.why_queue_is_stuck(app_id.rpartition(":")[0])
            reason = ": ".join(filter(None, (reason, stuck)))
        return DescribeAppResponse(
            app_id=app_id,
            state=job_state(job),
            num_restarts=batch_jobs.num_restarts(job),
            msg=reason,
            ui_url=batch_jobs.ui_url(job),
            roles_statuses=batch_jobs.role_statuses(job, details),
            roles=batch_jobs.roles_of(job),
        )

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return topcoat's jobs in all queues, or in the queue of *cfg*, the newest first."""
        queue = str((cfg or {}).get("queue") or "")
        names = [queue_name(queue) or queue] if queue else self._batch.queue_names()
        found = [(name, job) for name in names for job in self._batch.jobs_of_topcoat(name)]
        found.sort(key=lambda pair: pair[1].get("createdAt") or 0, reverse=True)
        return [
            ListAppResponse(
                f"{name}:{job['jobName']}", job_state(job), name=str(job["tags"].get(TAG_TORCHX_APPNAME) or "")
            )
            for name, job in found
        ]

    def _cancel_existing(self, app_id: str) -> None:
        job = self._find(app_id)
        if job is not None and not is_terminal(job_state(job)):
            self._batch.terminate(str(job["jobId"]), CANCELLED)

    def _delete_existing(self, app_id: str) -> None:
        """Cancel the job; AWS keeps its record for a while, and nobody can remove it."""
        self._cancel_existing(app_id)
        notice(f"AWS Batch keeps the record of {app_id} for at least 7 days, and removes it by itself")

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
        """Return the log lines of one node, both outputs together, those of earlier runs first."""
        if streams is not None and Stream(streams) is not Stream.COMBINED:
            raise UsageError("AWS Batch keeps both outputs of a job in one log", hint="leave --streams out")
        job = self._find(app_id)
        nodes = {(node.role, node.replica): node for node in batch_jobs.nodes_of(job or {})}
        if job is None or (role_name, k) not in nodes:
            raise self._no_replica(app_id, role_name, k, nodes)
        job_id, node = str(job["jobId"]), nodes[role_name, k]
        node_id = f"{job_id}#{node.number}" if batch_jobs.is_multi_node(job) else job_id

        def detail() -> Job | None:
            found = {item["jobId"]: item for item in self._batch.describe(dict.fromkeys((node_id, job_id)))}
            return found.get(node_id) or found.get(job_id)

        lines = read_log(self._batch.log_client, detail, since=since, until=until, follow=should_tail)
        return lines if regex is None else filter_regex(regex, lines)

    def replica_times(self, app_id: str) -> Sequence[ReplicaTimes]:
        """Return when each node started and ended, and its exit code."""
        job = self._find(app_id)
        details = self._node_details(job) if job else {}
        nodes: Iterable[Node] = batch_jobs.nodes_of(job) if job else ()
        return [batch_jobs.times_of(node, details.get(node.number) or job or {}) for node in nodes]

    def freeable(self) -> Sequence[Freeable]:
        """Return the job definitions that no waiting or running job uses."""
        definitions = self._batch.definitions_of_topcoat()
        used = self._batch.definitions_in_use(UNFINISHED) if definitions else set()
        return [Freeable(f"job definition {arn.rpartition('/')[2]}", arn) for arn in definitions if arn not in used]

    def free(self, item: Freeable) -> None:
        """Deregister a job definition."""
        self._batch.deregister(item.id)


def create_scheduler(
    session_name: str,
    client: Any = None,
    log_client: Any = None,
    docker_client: DockerClient | None = None,
    **kwargs: object,
) -> AWSBatchScheduler:
    """Return the scheduler ``aws_batch``, for these boto3 clients or those that boto3 is configured for."""
    return AWSBatchScheduler(session_name, client, log_client, docker_client)
