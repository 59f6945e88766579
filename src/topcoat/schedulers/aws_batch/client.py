"""The requests to AWS Batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from topcoat.aws import aws_client, aws_errors, error_code, error_text, is_denied, is_throttled
from topcoat.errors import InvalidRunConfigException
from topcoat.notices import notice
from topcoat.schedulers.aws_batch.queue import Queue, environment_names, parse_queue, why_stuck
from topcoat.schedulers.aws_batch.request import DEFINITION_PREFIX, TAG_APP_ID, TAG_DEFINITION
from topcoat.suggest import did_you_mean

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_logs import CloudWatchLogsClient

Json = dict[str, Any]
_MAX_DESCRIBED = 100
_SUBMIT_TRIES = 6
_FIRST_PAUSE_S = 1.0
# A job is listed a moment after it was submitted.
_LISTED_AFTER_S = 3.0


class Batch:
    """Sends requests to AWS Batch. Threads may share it.

    Every method raises ``SchedulerError`` if AWS refuses or cannot be reached.
    """

    def __init__(self, client: Any = None, log_client: Any = None) -> None:
        """Use *client* and *log_client*; by default those of boto3, made when they are first needed."""
        self._lock = threading.Lock()
        given = {"batch": client, "submit": client, "logs": log_client}
        self._given = {kind: client for kind, client in given.items() if client is not None}
        self._clients = dict(self._given)

    @property
    def client(self) -> BatchClient:
        """The client of AWS Batch."""
        client: BatchClient = self._client("batch")
        return client

    @property
    def log_client(self) -> CloudWatchLogsClient:
        """The client of the log service."""
        client: CloudWatchLogsClient = self._client("logs")
        return client

    def _client(self, kind: str) -> Any:
        with self._lock, aws_errors("connecting to AWS"):
            if kind not in self._clients:
                # A submission is not repeated blindly: AWS would run the job twice.
                is_submit = kind == "submit"
                self._clients[kind] = aws_client("batch", max_attempts=1) if is_submit else aws_client(kind)
            return self._clients[kind]

    def close(self) -> None:
        """Close the clients, unless they were given."""
        with self._lock:
            for kind in self._clients.keys() - self._given.keys():
                self._clients.pop(kind).close()

    def queue(self, text: str) -> Queue:
        """Return the job queue of this name or ARN.

        Raises:
            InvalidRunConfigException: there is none.
            SchedulerError: it is disabled, or jobs cannot be submitted to it.
        """
        found = self._described_queue(text)
        if found is None:
            names = self.queue_names()
            raise InvalidRunConfigException(
                f"unknown job queue {text!r} in {self.client.meta.region_name}",
                "queue",
                hint=did_you_mean(
                    text,
                    names,
                    otherwise=f"job queues there: {', '.join(names)}"
                    if names
                    else "no job queue there: AWS_DEFAULT_REGION",
                ),
            )
        return parse_queue(found, self._environments(found))

    def why_queue_is_stuck(self, name: str) -> str:
        """Return why no job starts in a queue, empty if AWS reports no reason."""
        found = self._described_queue(name)
        return why_stuck(found, self._environments(found)) if found else f"the job queue {name} no longer exists"

    def _described_queue(self, text: str) -> Mapping[str, Any] | None:
        with aws_errors(f"looking up the job queue {text!r}"):
            found = self.client.describe_job_queues(jobQueues=[text])["jobQueues"]
        return found[0] if found else None

    def _environments(self, queue: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        names = environment_names(queue)
        if not names:
            return []
        with aws_errors("looking up the compute environments of the job queue"):
            try:
                return list(self.client.describe_compute_environments(computeEnvironments=names)["computeEnvironments"])
            except Exception as error:
                if not is_denied(error):
                    raise
        notice("AWS denies a look at the compute environments of the job queue: jobs are not checked against them")
        return []

    def queue_names(self) -> list[str]:
        """Return the names of all job queues that list jobs: those of SageMaker list something else."""
        with aws_errors("listing the job queues"):
            pages = self.client.get_paginator("describe_job_queues").paginate()
            queues = [queue for page in pages for queue in page["jobQueues"]]
            return [queue["jobQueueName"] for queue in queues if queue.get("jobQueueType") != "SAGEMAKER_TRAINING"]

    def register(self, definition: Json) -> str:
        """Return the ARN of the active job definition of this name, which is registered if there is none."""
        name = definition["jobDefinitionName"]
        with aws_errors(f"registering the job definition {name}"):
            pages = self.client.get_paginator("describe_job_definitions")
            found = pages.paginate(jobDefinitionName=name, status="ACTIVE")
            known = [item for page in found for item in page["jobDefinitions"]]
            if known:
                return str(max(known, key=lambda item: item["revision"])["jobDefinitionArn"])
            return str(self.client.register_job_definition(**definition)["jobDefinitionArn"])

    def submit(self, submission: Json) -> str:
        """Submit a job once, and return its id: after a broken connection, look first whether AWS has got it."""
        name, queue = submission["jobName"], submission["jobQueue"]
        tries, pause = 1, _FIRST_PAUSE_S
        with aws_errors(f"submitting the job {name}"):
            while True:
                try:
                    return str(self._client("submit").submit_job(**submission)["jobId"])
                except Exception as error:
                    is_uncertain = _may_be_done(error)
                    if tries == _SUBMIT_TRIES or not (is_uncertain or is_throttled(error)):
                        raise
                notice(f"AWS did not confirm the job {name}: trying again")
                time.sleep(max(pause, _LISTED_AFTER_S) if is_uncertain else pause)
                if is_uncertain and (summary := self.find(queue, name)):
                    return str(summary["jobId"])
                tries, pause = tries + 1, pause * 2

    def find(self, queue: str, name: str) -> Mapping[str, Any] | None:
        """Return the summary of the newest job of this name, ``None`` without one or without the queue."""
        filters: Any = [{"name": "JOB_NAME", "values": [name]}]
        with aws_errors(f"looking up the job {name}"):
            try:
                pages = self.client.get_paginator("list_jobs").paginate(jobQueue=queue, filters=filters)
                found = [job for page in pages for job in page["jobSummaryList"] if job["jobName"] == name]
            except Exception as error:
                if error_code(error) == "ClientException" and _says_missing(error):
                    return None
                raise
        return max(found, key=lambda job: job.get("createdAt") or 0, default=None)

    def describe(self, job_ids: Iterable[str]) -> list[Mapping[str, Any]]:
        """Return what AWS knows of jobs and nodes; those that it does not know are missing."""
        ids = list(job_ids)
        found: list[Mapping[str, Any]] = []
        with aws_errors("looking up jobs"):
            for start in range(0, len(ids), _MAX_DESCRIBED):
                found += self.client.describe_jobs(jobs=ids[start : start + _MAX_DESCRIBED])["jobs"]
        return found

    def jobs_of_topcoat(self, queue: str) -> Iterator[Mapping[str, Any]]:
        """Yield the jobs of a queue that topcoat has submitted, in every state."""
        # With a filter, AWS lists jobs in every state; this one lets all pass.
        filters: Any = [{"name": "AFTER_CREATED_AT", "values": ["1"]}]
        with aws_errors(f"listing the jobs of {queue}"):
            for page in self.client.get_paginator("list_jobs").paginate(jobQueue=queue, filters=filters):
                ids = [job["jobId"] for job in page["jobSummaryList"]]
                yield from (job for job in self.describe(ids) if TAG_APP_ID in (job.get("tags") or {}))

    def terminate(self, job_id: str, reason: str) -> None:
        """End a job, whether it runs or waits."""
        with aws_errors("cancelling the job"):
            self.client.terminate_job(jobId=job_id, reason=reason)

    def definitions_of_topcoat(self) -> list[str]:
        """Return the ARNs of the active job definitions that topcoat has registered."""
        with aws_errors("listing the job definitions"):
            pages = self.client.get_paginator("describe_job_definitions").paginate(status="ACTIVE")
            return [
                item["jobDefinitionArn"]
                for page in pages
                for item in page["jobDefinitions"]
                if item["jobDefinitionName"].startswith(DEFINITION_PREFIX)
                and TAG_DEFINITION in (item.get("tags") or {})
            ]

    def definitions_in_use(self, statuses: Iterable[str]) -> set[str]:
        """Return the ARNs of the job definitions of jobs in these *statuses*."""
        used: set[str] = set()
        queues = self.queue_names()
        with aws_errors("listing jobs"):
            for queue in queues:
                for status in statuses:
                    pages = self.client.get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus=status)  # type: ignore[arg-type]
                    used |= {job.get("jobDefinition") or "" for page in pages for job in page["jobSummaryList"]}
        return used

    def deregister(self, arn: str) -> None:
        """Make a job definition inactive; one that is inactive, or that does not exist, is ignored."""
        with aws_errors(f"deregistering {arn}"):
            self.client.deregister_job_definition(jobDefinition=arn)


def _may_be_done(error: Exception) -> bool:
    """Tell whether the service may have carried out the request all the same."""
    from botocore.exceptions import ConnectionClosedError, HTTPClientError

    status = (getattr(error, "response", None) or {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return isinstance(error, (HTTPClientError, ConnectionClosedError)) or status >= 500


def _says_missing(error: Exception) -> bool:
    return any(words in error_text(error).lower() for words in ("does not exist", "not found", "not exist"))
