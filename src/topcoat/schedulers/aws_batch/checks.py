"""Check an application against a job queue before anything is built: AWS would keep some jobs waiting for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator

from topcoat.errors import InvalidApp, InvalidRunConfigException
from topcoat.notices import notice
from topcoat.schedulers.aws_batch.fargate import fargate_size
from topcoat.schedulers.aws_batch.options import AWSBatchOpts
from topcoat.schedulers.aws_batch.queue import Kind, Queue
from topcoat.specs import AppDef, BindMount, DeviceMount, Resource, Role
from topcoat.specs.named_resources_aws import (
    MIB_PER_GIB,
    instance_resource,
    instance_type_from_resource,
    named_resources,
)

MAX_NODE_GROUPS = 5
MAX_RETRIES = 9
RESERVED_PREFIX = "AWS_BATCH"
# Lists of AWS that hold general instance types of these families, and none with a GPU.
_GENERAL_LISTS = {"optimal", "default_x86_64", "default_arm64"}
_GENERAL_FAMILY = re.compile(r"[cmr]\d")
_ARM_TYPE = re.compile(r"(a1|[a-z]+\d+g[a-z]*)\.")


def is_arm(instance_type: str) -> bool:
    """Tell whether *instance_type* has an ARM processor (AWS Graviton), which its name shows: ``m7g.large``."""
    return bool(_ARM_TYPE.match(instance_type))


def check_app(app: AppDef, options: AWSBatchOpts, queue: Queue) -> None:
    """Raise ``InvalidApp`` or ``InvalidRunConfigException`` if *queue* cannot run *app*."""
    if queue.has_policy and not options.share_id:
        raise InvalidRunConfigException(
            f"missing share_id: the job queue {queue.name!r} has a scheduling policy",
            "share_id",
            hint="-cfg share_id=NAME, one of those that the policy lists",
        )
    if options.share_id and not queue.has_policy:
        raise InvalidRunConfigException(
            f"invalid share_id {options.share_id!r}: the job queue {queue.name!r} has no scheduling policy",
            "share_id",
            hint="leave share_id out",
        )
    nodes = sum(role.num_replicas for role in app.roles)
    vcpus = sum(max(role.resource.cpu, 1) * role.num_replicas for role in app.roles)
    if queue.max_vcpus and vcpus > queue.max_vcpus:
        raise InvalidApp(
            f"{app.name!r} needs {vcpus} vCPUs, and the job queue {queue.name!r} has at most {queue.max_vcpus}",
            hint="ask for fewer (--cpu), or raise maxvCpus of its compute environment",
        )
    if nodes > 1:
        _check_nodes(app, nodes, queue)
    for role in app.roles:
        _check_role(role)
        if queue.kind is Kind.FARGATE:
            _check_fargate(role, options, queue)
        else:
            _check_fits(role, queue, needs_type=nodes > 1)


def _check_nodes(app: AppDef, nodes: int, queue: Queue) -> None:
    if queue.kind is Kind.FARGATE:
        raise InvalidApp(
            f"{app.name!r} has {nodes} replicas, and the job queue {queue.name!r} runs on Fargate, which has no "
            "multi-node jobs",
            hint="use a queue of EC2, or one replica",
        )
    if len(app.roles) > MAX_NODE_GROUPS:
        raise InvalidApp(
            f"{app.name!r} has {len(app.roles)} roles, and a multi-node job of AWS Batch has at most "
            f"{MAX_NODE_GROUPS} node groups",
            hint="give roles that differ only in their arguments one role with several replicas",
        )
    types = {role.name: instance_type_from_resource(role.resource) for role in app.roles}
    if len(set(filter(None, types.values()))) > 1:
        shown = ", ".join(f"{name}: {type_}" for name, type_ in types.items() if type_)
        raise InvalidApp(
            f"the roles of {app.name!r} have different instance types ({shown}), and all nodes of an AWS Batch job "
            "have the same",
            hint="give all roles the same named resource (--resource aws_TYPE)",
        )


def _check_role(role: Role) -> None:
    where = f"role {role.name!r}"
    if role.resource.memMB <= 0:
        raise InvalidApp(f"{where} has no memory, and AWS Batch needs it", hint="--memMB MB, or Resource(memMB=...)")
    if role.max_retries > MAX_RETRIES:
        raise InvalidApp(
            f"{where} has max_retries={role.max_retries}, and AWS Batch runs a job at most {MAX_RETRIES + 1} times",
            hint=f"--max-retries {MAX_RETRIES}",
        )
    for name in role.env:
        if name.startswith(RESERVED_PREFIX):
            raise InvalidApp(f"{where} sets {name}: AWS Batch reserves the names that begin with {RESERVED_PREFIX}")
    for mount in role.mounts:
        if isinstance(mount, BindMount) and not mount.src_path.startswith("/"):
            raise InvalidApp(f"{where} mounts {mount.src_path!r}: expected an absolute path of the host")


def _check_fargate(role: Role, options: AWSBatchOpts, queue: Queue) -> None:
    where = f"role {role.name!r} on the Fargate queue {queue.name!r}"
    type_ = instance_type_from_resource(role.resource)
    mounts = [mount for mount in role.mounts if isinstance(mount, (BindMount, DeviceMount))]
    refused = {
        f"the instance type {type_}": type_ is not None,
        "a GPU": role.resource.gpu > 0,
        "devices": bool(role.resource.devices),
        "mounts of the host": bool(mounts),
        "privileged": options.privileged,
        "ulimits": bool(options.ulimits),
    }
    for what, is_wanted in refused.items():
        if is_wanted:
            raise InvalidApp(f"{where} asks for {what}, which Fargate does not have", hint="use a queue of EC2")
    if not options.execution_role_arn:
        raise InvalidRunConfigException(
            f"missing execution_role_arn: the job queue {queue.name!r} runs on Fargate",
            "execution_role_arn",
            hint="-cfg execution_role_arn=arn:aws:iam::ACCOUNT:role/ecsTaskExecutionRole",
        )
    vcpus, memory = fargate_size(role)
    if (vcpus, memory) != (role.resource.cpu, role.resource.memMB):
        notice(f"{where} gets {vcpus} vCPUs and {memory} MiB, the smallest size of Fargate that is large enough")


def _check_fits(role: Role, queue: Queue, *, needs_type: bool) -> None:
    """Refuse a role for which *queue* has no machine: AWS reports nothing, and the job waits for ever."""
    type_, wanted = instance_type_from_resource(role.resource), role.resource
    offered = ", ".join(queue.instance_types)
    machines = list(_machines(queue))
    if not machines:
        return
    if type_ and needs_type and type_ not in dict(machines):
        raise InvalidApp(
            f"role {role.name!r} needs the instance type {type_}, and the job queue {queue.name!r} has {offered}",
            hint="use a named resource of one of these types, or another queue",
        )
    if not any(_holds(machine, wanted) for _, machine in machines):
        needs = f"{max(wanted.cpu, 1)} vCPUs, {wanted.memMB} MiB" + f" and {wanted.gpu} GPUs" * (wanted.gpu > 0)
        raise InvalidApp(
            f"role {role.name!r} needs {needs}, and no instance type of the job queue {queue.name!r} has that "
            f"({offered})",
            hint="ask for less (--cpu, --memMB, --gpu, --resource), or use another queue",
        )


def _holds(machine: Resource, wanted: Resource) -> bool:
    memory = machine.memMB * 1024 // MIB_PER_GIB + 1
    return machine.cpu >= wanted.cpu and machine.gpu >= wanted.gpu and memory >= wanted.memMB


def _machines(queue: Queue) -> Iterator[tuple[str, Resource]]:
    """Yield the instance types of *queue* that are known; none if one of its entries is not known."""
    found: dict[str, Resource] = {}
    for entry in queue.instance_types:
        if entry in _GENERAL_LISTS:
            names = [name for name in _types() if _GENERAL_FAMILY.match(name)]
        else:
            names = [name for name in _types() if entry in (name, name.partition(".")[0])]
        if not names:
            return
        found.update({name: instance_resource(name) for name in names})
    yield from found.items()


def _types() -> Iterator[str]:
    for name in named_resources():
        yield name.removeprefix("aws_")
