"""The container of a role, as AWS Batch describes it, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from topcoat.errors import InvalidApp
from topcoat.schedulers.aws_batch.checks import is_arm
from topcoat.schedulers.aws_batch.fargate import fargate_size
from topcoat.schedulers.aws_batch.nodes import own_command
from topcoat.schedulers.aws_batch.options import AWSBatchOpts, parse_ulimits
from topcoat.schedulers.aws_batch.queue import Kind
from topcoat.schedulers.devices import get_device_mounts
from topcoat.specs import BindMount, DeviceMount, Resource, Role, VolumeMount
from topcoat.specs.named_resources_aws import instance_type_from_resource
from topcoat.specs.sentinels import MISSING

ENV_TORCHX_ROLE_IDX = "TORCHX_ROLE_IDX"
ENV_TORCHX_ROLE_NAME = "TORCHX_ROLE_NAME"
DEFAULT_ROLE_NAME = "node"
"""The name of a role whose container does not tell it (TorchX's names)."""
LOG_GROUP = "/aws/batch/job"
LOG_GROUP_OPTION = "awslogs-group"

_PERMISSIONS = {"r": "READ", "w": "WRITE", "m": "MKNOD"}
Json = dict[str, Any]


class ResourceType(Enum):
    """List the types of resource requirements (TorchX's names)."""

    VCPU = 1
    GPU = 2
    MEMORY = 3

    @staticmethod
    def from_str(resource_type: str) -> ResourceType:
        """Return the type of this name in any case; raise ``ValueError`` for another one."""
        try:
            return ResourceType[resource_type.upper()]
        except KeyError:
            names = ", ".join(ResourceType.__members__)
            raise ValueError(f"invalid resource type {resource_type!r}: choose {names}") from None


def resource_requirements_from_resource(resource: Resource) -> list[dict[str, str]]:
    """Return what a container on EC2 requires; raise ``InvalidApp`` without memory (TorchX's name)."""
    if resource.memMB <= 0:
        raise InvalidApp("AWS Batch needs the memory of every role", hint="Resource(memMB=...)")
    return _requirements(max(resource.cpu, 1), resource.memMB, resource.gpu)


def resource_from_resource_requirements(resource_requirements: Iterable[Mapping[str, str]]) -> Resource:
    """Return the resource of requirements as AWS describes them (TorchX's name)."""
    values = {ResourceType.from_str(item["type"]): int(float(item["value"])) for item in resource_requirements}
    return Resource(
        values.get(ResourceType.VCPU, -1), values.get(ResourceType.GPU, 0), values.get(ResourceType.MEMORY, -1)
    )


def _requirements(cpu: int, memory: int, gpu: int) -> list[dict[str, str]]:
    wanted = ((ResourceType.VCPU, cpu), (ResourceType.MEMORY, memory), (ResourceType.GPU, gpu))
    return [{"type": type_.name, "value": str(value)} for type_, value in wanted if value > 0]


def container_properties(
    role: Role,
    options: AWSBatchOpts,
    kind: Kind,
    *,
    command: list[str],
    env: Mapping[str, str],
    platform: str = "",
    in_node_group: bool = False,
) -> Json:
    """Return the ``containerProperties`` of a role; *platform* is that of its image, empty for the default."""
    container: Json = {
        "image": role.image,
        "command": command,
        "environment": [{"name": name, "value": value} for name, value in env.items()],
        "logConfiguration": {"logDriver": "awslogs", **_if_any("options", dict(options.log_options or {}))},
        **_if_any("jobRoleArn", options.job_role_arn),
        **_if_any("executionRoleArn", options.execution_role_arn),
        **_mounts(role),
    }
    if kind is Kind.FARGATE:
        container["resourceRequirements"] = _requirements(*fargate_size(role), 0)
        container["networkConfiguration"] = {"assignPublicIp": "ENABLED" if options.assign_public_ip else "DISABLED"}
        if platform.partition("/")[2] == "arm64":
            container["runtimePlatform"] = {"operatingSystemFamily": "LINUX", "cpuArchitecture": "ARM64"}
        return container
    container["resourceRequirements"] = resource_requirements_from_resource(role.resource)
    # PyTorch's data loaders share memory through /dev/shm, for which the default is 64 MB.
    devices = [_device(mount) for mount in _devices(role)]
    container["linuxParameters"] = {"sharedMemorySize": role.resource.memMB, **_if_any("devices", devices)}
    container["privileged"] = options.privileged
    container.update(_if_any("ulimits", parse_ulimits(options.ulimits or [])))
    instance_type = instance_type_from_resource(role.resource)
    # AWS refuses it for a single container, and takes it as the type of all nodes.
    if in_node_group and instance_type:
        container["instanceType"] = instance_type
    return container


def platform_of(role: Role) -> str:
    """Return the platform of the instance type that *role* names, empty if it names none."""
    instance_type = instance_type_from_resource(role.resource)
    return "" if not instance_type else "linux/arm64" if is_arm(instance_type) else "linux/amd64"


def _if_any(key: str, value: Any) -> Json:
    return {key: value} if value else {}


def _devices(role: Role) -> list[DeviceMount]:
    mounts = [mount for mount in role.mounts if isinstance(mount, DeviceMount)]
    return mounts + get_device_mounts(role.resource.devices)


def _device(mount: DeviceMount) -> Json:
    permissions = [_PERMISSIONS[letter] for letter in mount.permissions]
    return {"hostPath": mount.src_path, "containerPath": mount.dst_path, "permissions": permissions}


def _mounts(role: Role) -> Json:
    volumes: list[Json] = []
    points: list[Json] = []
    for mount in role.mounts:
        if isinstance(mount, DeviceMount):
            continue
        name = f"mount_{len(volumes)}"
        if isinstance(mount, BindMount):
            volumes.append({"name": name, "host": {"sourcePath": mount.src_path}})
        else:
            file_system, _, directory = mount.src.partition(":")
            efs = {"fileSystemId": file_system, **_if_any("rootDirectory", directory)}
            volumes.append({"name": name, "efsVolumeConfiguration": efs})
        points.append({"containerPath": mount.dst_path, "readOnly": mount.read_only, "sourceVolume": name})
    return {"volumes": volumes, "mountPoints": points} if volumes else {}


def role_of(container: Mapping[str, Any], num_replicas: int, max_retries: int) -> Role:
    """Return the role of a container as AWS describes it."""
    env = {str(item.get("name")): str(item.get("value")) for item in container.get("environment") or []}
    command = own_command([str(word) for word in container.get("command") or []])
    requirements = container.get("resourceRequirements") or [
        {"type": type_, "value": str(container[key])}
        for type_, key in (("VCPU", "vcpus"), ("MEMORY", "memory"))
        if container.get(key)
    ]
    # A job of somebody else may require what this version does not know.
    requirements = [item for item in requirements if item.get("type") in ResourceType.__members__]
    return Role(
        role_name(container),
        str(container.get("image") or env.get("TORCHX_IMAGE") or ""),
        entrypoint=command[0] if command else MISSING,
        args=command[1:],
        env=env,
        num_replicas=num_replicas,
        max_retries=max_retries,
        resource=resource_from_resource_requirements(requirements),
        mounts=[*_parsed_mounts(container), *_parsed_devices(container)],
    )


def role_name(container: Mapping[str, Any]) -> str:
    """Return the name of a container's role."""
    env = {item.get("name"): item.get("value") for item in container.get("environment") or []}
    return str(env.get(ENV_TORCHX_ROLE_NAME) or DEFAULT_ROLE_NAME)


def _parsed_mounts(container: Mapping[str, Any]) -> Iterable[BindMount | VolumeMount]:
    volumes = {volume.get("name"): volume for volume in container.get("volumes") or []}
    for point in container.get("mountPoints") or []:
        volume = volumes.get(point.get("sourceVolume")) or {}
        target, read_only = str(point.get("containerPath")), bool(point.get("readOnly"))
        efs = volume.get("efsVolumeConfiguration")
        if efs:
            source = ":".join(filter(None, (efs.get("fileSystemId"), efs.get("rootDirectory"))))
            yield VolumeMount(source, target, read_only)
        else:
            yield BindMount(str((volume.get("host") or {}).get("sourcePath") or ""), target, read_only)


def _parsed_devices(container: Mapping[str, Any]) -> Iterable[DeviceMount]:
    letters = {permission: letter for letter, permission in _PERMISSIONS.items()}
    for device in (container.get("linuxParameters") or {}).get("devices") or []:
        source = str(device.get("hostPath"))
        permissions = "".join(letters.get(item, "") for item in device.get("permissions") or [])
        yield DeviceMount(source, str(device.get("containerPath") or source), permissions or "rwm")
