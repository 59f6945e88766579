"""The pod of a role, as TorchX makes it: image, command, environment, resources and mounts. No side effects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from topcoat.errors import InvalidApp
from topcoat.schedulers.ids import dns_label
from topcoat.schedulers.kubernetes.labels import ANNOTATION_ISTIO_SIDECAR
from topcoat.schedulers.kubernetes.options import RESERVED_MEMMB, RESERVED_MILLICPU, is_label_key, is_label_value
from topcoat.specs import BindMount, DeviceMount, Role, VolumeMount
from topcoat.specs.named_resources_aws import EFA_DEVICE

PLACEHOLDER_FIELD_PATH = "[FIELD_PATH]"
"""TorchX's prefix of an environment variable's value that names a field of the pod, such as ``status.podIP``."""
SHARED_MEMORY = "/dev/shm"
_GPU = "nvidia.com/gpu"
_MAX_PORT_NAME = 15
_ENV_NAME = re.compile(r"[ -<>-~]+")


def role_to_pod(
    name: str,
    role: Role,
    service_account: str | None = None,
    reserved_millicpu: int = RESERVED_MILLICPU,
    reserved_memmb: int = RESERVED_MEMMB,
    efa_device_count: int | None = None,
) -> dict[str, Any]:
    """Return the ``metadata`` and ``spec`` of a replica's pod, whose container is called *name*.

    The macros of *role* are replaced. Requests are below limits by what nodes reserve for themselves.

    Raises:
        InvalidApp: the cluster would refuse a field of *role*.
    """
    volumes, mounts = _mounts(role)
    container: dict[str, Any] = {
        "name": name,
        "image": role.image,
        "command": [literal(text) for text in checked_words(role)],
        "env": env_entries(role.env, role),
        "resources": _resources(role, reserved_millicpu, reserved_memmb, efa_device_count),
        "ports": _ports(role),
        "volumeMounts": mounts,
    }
    if any(isinstance(mount, DeviceMount) for mount in role.mounts):
        # Kubernetes has no other way to give a container a device of the host.
        container["securityContext"] = {"privileged": True}
    spec = {
        "containers": [{key: value for key, value in container.items() if value}],
        "restartPolicy": "Never",
        "serviceAccountName": service_account,
        "volumes": volumes,
        "nodeSelector": node_selector(role),
    }
    return {
        # The istio sidecar never ends, so neither would the pod.
        "metadata": {"annotations": {ANNOTATION_ISTIO_SIDECAR: "false"}, "labels": {}},
        "spec": {key: value for key, value in spec.items() if value},
    }


def literal(text: str) -> str:
    """Return *text* such that Kubernetes, which expands ``$(NAME)`` and ``$$``, passes it on as it is."""
    return re.sub(r"\$(?=[$(]|[^\x00-\x7f])", "$$", text)


def checked_words(role: Role) -> list[str]:
    """Return the command of *role*; raise ``InvalidApp`` if a word cannot be passed to a process."""
    words = [role.entrypoint, *role.args]
    for word in words:
        _check_text(word, role, "command")
    return words


def _check_text(text: object, role: Role, place: str) -> None:
    if not isinstance(text, str):
        raise InvalidApp(f"the {place} of role {role.name!r} has {text!r}, which is no string", hint="write a string")
    if "\0" in text or not _is_unicode(text):
        raise InvalidApp(
            f"the {place} of role {role.name!r} has a text that is not valid UTF-8, or has a NUL: {text!r}",
            hint="encode binary data, for example as base64",
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def env_entries(env: Mapping[str, str], role: Role) -> list[dict[str, Any]]:
    """Return environment variables as the API wants them."""
    entries: list[dict[str, Any]] = []
    for name, value in env.items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise InvalidApp(
                f"invalid environment variable name {name!r} of role {role.name!r}",
                hint="a name has printable ASCII characters, without =",
            )
        _check_text(value, role, f"environment variable {name}")
        if value.startswith(PLACEHOLDER_FIELD_PATH):
            entries.append(field_entry(name, value.removeprefix(PLACEHOLDER_FIELD_PATH)))
        else:
            entries.append({"name": name, "value": literal(value)})
    return entries


def field_entry(name: str, field_path: str) -> dict[str, Any]:
    """Return an environment variable that holds a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": field_path}}}


def _resources(role: Role, reserved_millicpu: int, reserved_memmb: int, efa_device_count: int | None) -> dict[str, Any]:
    resource = role.resource
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    if resource.cpu > 0:
        millicpu = int(resource.cpu * 1000)
        limits["cpu"], requests["cpu"] = f"{millicpu}m", f"{max(millicpu - reserved_millicpu, 0)}m"
    if resource.memMB > 0:
        megabytes = int(resource.memMB)
        limits["memory"], requests["memory"] = f"{megabytes}M", f"{max(megabytes - reserved_memmb, 0)}M"
    if resource.gpu > 0:
        limits[_GPU] = requests[_GPU] = str(int(resource.gpu))
    devices = {name: int(count) for name, count in resource.devices.items()}
    if efa_device_count is not None:
        devices[EFA_DEVICE] = efa_device_count
    for name, count in devices.items():
        if not is_label_key(name) or "/" not in name or count < 0:
            raise InvalidApp(
                f"invalid device {name!r}: {count} of role {role.name!r}",
                hint="a device has the name of its plugin, such as vpc.amazonaws.com/efa",
            )
        if count:
            limits[name] = str(count)
    return {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


def node_selector(role: Role) -> dict[str, str]:
    """Return the capabilities of the role's resource as labels that its nodes must have."""
    selector = {}
    for name, value in role.resource.capabilities.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not is_label_key(str(name)) or not is_label_value(text):
            raise InvalidApp(
                f"the capability {name!r}: {value!r} of role {role.name!r} cannot be a label of a node",
                hint="capabilities select nodes: {'node.kubernetes.io/instance-type': 'p4d.24xlarge'}",
            )
        selector[str(name)] = text
    return selector


def _ports(role: Role) -> list[dict[str, Any]]:
    # A number under two names is one port: the API has numbers as keys.
    ports: dict[int, dict[str, Any]] = {}
    names: set[str] = set()
    for name, port in role.port_map.items():
        if not isinstance(port, int) or not 1 <= port <= 65535:
            raise InvalidApp(f"invalid port {name}={port} of role {role.name!r}", hint="ports are from 1 to 65535")
        label = dns_label(name, _MAX_PORT_NAME)
        if not re.search("[a-z]", label):
            label = dns_label(f"p{label}", _MAX_PORT_NAME)
        # A name is only for people: two that become equal are the second one's loss.
        named = {} if label in names else {"name": label}
        names.add(label)
        ports.setdefault(port, {**named, "containerPort": port})
    return list(ports.values())


def _mounts(role: Role) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the volumes of a pod and where its container has them."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if all(_target(mount) != SHARED_MEMORY for mount in role.mounts):
        # PyTorch's data loaders share memory there, for which the default is 64 MB.
        size = {"sizeLimit": f"{int(role.resource.memMB)}M"} if role.resource.memMB > 0 else {}
        volumes.append({"name": "dshm", "emptyDir": {"medium": "Memory", **size}})
        mounts.append({"name": "dshm", "mountPath": SHARED_MEMORY})
    _check_targets(role.mounts, role)
    for number, mount in enumerate(role.mounts):
        name = f"mount-{number}"
        if isinstance(mount, VolumeMount):
            volumes.append({"name": name, "persistentVolumeClaim": {"claimName": mount.src}})
        else:
            volumes.append({"name": name, "hostPath": {"path": mount.src_path}})
        if isinstance(mount, DeviceMount):
            read_only = "w" not in mount.permissions and "m" not in mount.permissions
        else:
            read_only = mount.read_only
        mounts.append({"name": name, "mountPath": mount.dst_path, "readOnly": read_only})
    return volumes, mounts


def _target(mount: BindMount | VolumeMount | DeviceMount) -> str:
    return mount.dst_path.rstrip("/") or "/"


def _check_targets(mounts: Iterable[BindMount | VolumeMount | DeviceMount], role: Role) -> None:
    targets: set[str] = set()
    for mount in mounts:
        _check_text(mount.dst_path, role, "mount")
        if ":" in mount.dst_path or not mount.dst_path.startswith("/"):
            raise InvalidApp(
                f"invalid mount at {mount.dst_path!r} in role {role.name!r}", hint="an absolute path without a colon"
            )
        if mount.dst_path in targets:
            raise InvalidApp(f"role {role.name!r} has two mounts at {mount.dst_path}", hint="leave one out")
        targets.add(mount.dst_path)
