"""Build what is sent to AWS Batch for an application: a job definition and the submission of one job. No side effects.

The definition holds all that two runs of the same application share, and has a digest of it in its name, so it is
registered once. What belongs to one run (its id) is in the submission, as overrides.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from topcoat.errors import InvalidApp
from topcoat.schedulers.aws_batch.container import (
    ENV_TORCHX_ROLE_IDX,
    ENV_TORCHX_ROLE_NAME,
    Json,
    container_properties,
    role_name,
)
from topcoat.schedulers.aws_batch.nodes import REPLICA_MARK, node_command
from topcoat.schedulers.aws_batch.options import MAX_TAGS, AWSBatchOpts, check_tags, tag_value
from topcoat.schedulers.aws_batch.queue import Kind, Queue
from topcoat.schedulers.env import RANK0_ENV, job_env
from topcoat.specs import AppDef, Role, macros, make_app_handle
from topcoat.version import __version__

TAG_TORCHX_VER = "torchx.pytorch.org/version"
TAG_TORCHX_APPNAME = "torchx.pytorch.org/app-name"
TAG_TORCHX_USER = "torchx.pytorch.org/user"
TAG_APP_ID = "dev.topcoat.app-id"
"""The tag by which topcoat finds its jobs; the others are TorchX's."""
TAG_DEFINITION = "dev.topcoat.version"
"""The tag by which topcoat finds its job definitions."""
DEFINITION_PREFIX = "topcoat-"
MAX_ATTEMPTS = 10
MAX_DEFINITION_BYTES, MAX_SUBMISSION_BYTES = 24 * 1024, 30 * 1024
# The status reason of a run whose machine AWS has taken back. On Fargate it is the task that is taken back.
_RECLAIMED = {Kind.EC2: ("Host EC2*",), Kind.FARGATE: ("Host EC2*", "Your Spot Task*")}
_OF_THE_NODE = ("TOPCOAT_REPLICA_ID", "TOPCOAT_RANK0_HOST", RANK0_ENV)


@dataclass
class BatchJob:
    """Hold the requests for one application (TorchX's name; *submission* is added).

    Attributes:
        name: name of the job.
        queue: name of the job queue.
        share_id: its share identifier.
        job_def: the arguments of ``register_job_definition``.
        images_to_push: images that are pushed first, see ``DockerWorkspaceMixin.push_images``.
        submission: the arguments of ``submit_job``, without the job definition.
    """

    name: str
    queue: str
    share_id: str | None
    job_def: Json
    images_to_push: dict[str, tuple[str, str]] = field(default_factory=dict)
    submission: Json = field(default_factory=dict)

    def __str__(self) -> str:
        import yaml

        shown = {key: value for key, value in asdict(self).items() if value}
        return yaml.safe_dump(shown, sort_keys=False, width=120, allow_unicode=True)

    @property
    def app_id(self) -> str:
        """The id of the application: ``queue:name``."""
        return f"{self.queue}:{self.name}"


class _Run(NamedTuple):
    """What the requests for one run differ in."""

    name: str
    app_id: str
    handle: str


def make_job(
    app: AppDef,
    options: AWSBatchOpts,
    queue: Queue,
    *,
    backend: str,
    session_name: str,
    name: str,
    platforms: Mapping[str, str],
) -> BatchJob:
    """Return the requests for *app*, whose images are final; *platforms* are those of its roles, by role name.

    Raises:
        InvalidApp: the requests are larger than AWS accepts.
    """
    app_id = f"{queue.name}:{name}"
    run = _Run(name, app_id, make_app_handle(backend, session_name, app_id))
    # Whatever depends on the run shows when it is made for another one.
    any_run = _Run(macros.app_id, macros.app_id, macros.app_id)
    nodes = sum(role.num_replicas for role in app.roles)
    groups: list[Json] = []
    overrides: list[Json] = []
    first_node = 0
    for index, role in enumerate(app.roles):
        node = first_node if nodes > 1 else None
        command, env = _command(role, index, any_run, node)
        own_command, own_env = _command(role, index, run, node)
        container = container_properties(
            role,
            options,
            queue.kind,
            command=command,
            env={key: value for key, value in env.items() if own_env[key] == value},
            platform=platforms.get(role.name, ""),
            in_node_group=nodes > 1,
        )
        changed = [{"name": key, "value": value} for key, value in own_env.items() if env[key] != value]
        override: Json = {"environment": changed, **({"command": own_command} if own_command != command else {})}
        target = f"{first_node}:{first_node + role.num_replicas - 1}"
        groups.append({"targetNodes": target, "container": container})
        overrides.append({"targetNodes": target, "containerOverrides": override})
        first_node += role.num_replicas
    retries = max(role.max_retries for role in app.roles)
    job_def: Json = {
        "retryStrategy": retry_strategy(retries, queue.kind),
        "tags": {TAG_DEFINITION: tag_value(__version__)},
    }
    if options.timeout:
        job_def["timeout"] = {"attemptDurationSeconds": options.timeout}
    submission: Json = {"jobName": name, "jobQueue": queue.name, "tags": _tags(app, options, app_id)}
    if options.share_id:
        submission["shareIdentifier"] = options.share_id
        submission["schedulingPriorityOverride"] = options.priority
    if nodes == 1:
        job_def |= {"type": "container", "platformCapabilities": [queue.kind.value]}
        job_def["containerProperties"] = groups[0]["container"]
        submission["containerOverrides"] = overrides[0]["containerOverrides"]
    else:
        job_def |= {"type": "multinode", "platformCapabilities": [queue.kind.value]}
        job_def["nodeProperties"] = {"numNodes": nodes, "mainNode": 0, "nodeRangeProperties": groups}
        submission["nodeOverrides"] = {"nodePropertyOverrides": overrides}
    _check_size("job definition", job_def, MAX_DEFINITION_BYTES)
    _check_size("job", submission, MAX_SUBMISSION_BYTES)
    job = BatchJob(name, queue.name, options.share_id, job_def, submission=submission)
    return name_definition(job, app.name)


def retry_strategy(max_retries: int, kind: Kind) -> Json:
    """Return how often AWS runs a job: after each failure, or with 0 retries only if it took the machine back.

    The attempts of AWS count every run, the first one too.
    """
    if max_retries > 0:
        return {"attempts": max_retries + 1}
    reclaimed = [{"onStatusReason": reason, "action": "RETRY"} for reason in _RECLAIMED[kind]]
    return {"attempts": MAX_ATTEMPTS, "evaluateOnExit": [*reclaimed, {"onReason": "*", "action": "EXIT"}]}


def max_retries_of(strategy: Mapping[str, Any]) -> int:
    """Return the number of retries of a strategy of `retry_strategy`."""
    return 0 if strategy.get("evaluateOnExit") else max(int(strategy.get("attempts") or 1) - 1, 0)


def name_definition(job: BatchJob, app_name: str = "") -> BatchJob:
    """Set the name of the job definition to one with a digest of its content, and return *job*.

    Without *app_name*, the part of the name before the digest stays.
    """
    old_name = str(job.job_def.pop("jobDefinitionName", ""))
    part = re.sub(r"[^A-Za-z0-9_-]+", "-", app_name)[:60].strip("-_") if app_name else ""
    prefix = f"{DEFINITION_PREFIX}{part or 'app'}" if app_name else old_name.rpartition("-")[0]
    content = {key: value for key, value in job.job_def.items() if key != "tags"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    job.job_def = {"jobDefinitionName": f"{prefix}-{digest[:16]}", **job.job_def}
    return job


def set_images(job: BatchJob, images: Mapping[str, str]) -> None:
    """Give the roles in *images* these images, by role name."""
    for container in containers(job.job_def):
        image = images.get(role_name(container))
        if image:
            container["image"] = image
            for variable in container["environment"]:
                if variable["name"] == "TORCHX_IMAGE":
                    variable["value"] = image
    name_definition(job)


def containers(definition: Mapping[str, Any]) -> Iterator[Json]:
    """Yield the containers of a job definition, or of a job, in the order of its nodes."""
    if definition.get("nodeProperties"):
        for group in definition["nodeProperties"].get("nodeRangeProperties") or []:
            yield group.get("container") or {}
    else:
        yield definition.get("containerProperties") or definition.get("container") or {}


def _command(role: Role, index: int, run: _Run, first_node: int | None) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of a role; *first_node* is ``None`` for a job of one node."""
    is_single = first_node is None
    replica = macros.Values("", run.name, "0" if is_single else REPLICA_MARK, RANK0_ENV).apply(role)
    own = job_env(backend="", session_name="", app_id=run.app_id, role=role, replica_id=0, rank0_host="localhost")
    env = {name: value for name, value in own.items() if is_single or name not in _OF_THE_NODE}
    env |= {ENV_TORCHX_ROLE_IDX: str(index), ENV_TORCHX_ROLE_NAME: role.name, **replica.env}
    # A runner sets it with the macro of the name, which is not the whole id here.
    env["TORCHX_JOB_ID"] = run.handle
    command = [replica.entrypoint, *replica.args]
    return (command, env) if first_node is None else node_command(command, env, first_node)


def _tags(app: AppDef, options: AWSBatchOpts, app_id: str) -> dict[str, str]:
    metadata = {str(key): str(value) for key, value in app.metadata.items()}
    check_tags(metadata, "metadata")
    tags = {
        TAG_APP_ID: app_id,
        TAG_TORCHX_VER: tag_value(__version__),
        TAG_TORCHX_APPNAME: tag_value(app.name),
        TAG_TORCHX_USER: tag_value(options.user or ""),
        **metadata,
        **(options.tags or {}),
    }
    if len(tags) > MAX_TAGS:
        raise InvalidApp(
            f"{app.name!r} has {len(tags)} tags, and AWS allows {MAX_TAGS}", hint="remove some (-cfg tags=)"
        )
    return tags


def _check_size(what: str, request: Json, limit: int) -> None:
    size = len(json.dumps(request, separators=(",", ":")).encode())
    if size > limit:
        raise InvalidApp(
            f"the {what} has {size} bytes, and AWS Batch accepts {limit}",
            hint="put long arguments and variables into a file of the workspace",
        )
