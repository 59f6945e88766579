"""Read fields of objects that the API server sent: any of them may be missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from topcoat.schedulers.kubernetes.labels import ANNOTATION_ROLE_NAME, COMPLETION_INDEX, LABEL_ROLE

Manifest = Mapping[str, Any]
Manifests = Sequence[Manifest]

# A Volcano Job has no completion index: each replica is a task that has TorchX's label.
TORCHX_REPLICA = "torchx.pytorch.org/replica-id"
_NO_OBJECT: Manifest = {}
_FRACTION = re.compile(r"\.(\d+)")


def field(manifest: Any, *path: str | int) -> Any:
    """Return the value at *path*, ``None`` if any part of it is missing."""
    value = manifest
    for key in path:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and len(value) > key:
            value = value[key]
        else:
            return None
    return value


def section(manifest: Any, *path: str | int) -> Manifest:
    """Return the object at *path*, an empty one if it is missing."""
    value = field(manifest, *path)
    return value if isinstance(value, Mapping) else _NO_OBJECT


def items(manifest: Any, *path: str | int) -> Manifests:
    """Return the objects of the list at *path*, none if it is missing."""
    value = field(manifest, *path)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def text(manifest: Any, *path: str | int) -> str:
    """Return the string at *path*, empty if it is missing."""
    value = field(manifest, *path)
    return value if isinstance(value, str) else ""


def number(manifest: Any, *path: str | int) -> int:
    """Return the integer at *path*, 0 if it is missing."""
    value = field(manifest, *path)
    return value if isinstance(value, int) else 0


def indexes(manifest: Any, *path: str | int) -> list[range]:
    """Return the indexes in a text such as ``1,3-5``."""
    return [
        range(int(first), int(last or first) + 1)
        for first, last in re.findall(r"\b(\d{1,9})(?:-(\d{1,9}))?\b", text(manifest, *path))
    ]


def name_of(manifest: Manifest) -> str:
    """Return the name of an object."""
    return text(manifest, "metadata", "name")


def condition(manifest: Manifest, kind: str) -> Manifest | None:
    """Return the status condition of type *kind*, ``None`` without one."""
    conditions = items(manifest, "status", "conditions")
    return next((item for item in conditions if item.get("type") == kind), None)


def is_true(manifest: Manifest, kind: str) -> bool:
    """Tell whether the status condition of type *kind* is true."""
    return section(condition(manifest, kind)).get("status") == "True"


def seconds(stamp: str) -> float | None:
    """Return a time (RFC 3339) as seconds since 1970, ``None`` without one."""
    moment = time_of(stamp)
    return None if moment is None else moment.timestamp()


def time_of(stamp: str) -> datetime | None:
    """Return a time (RFC 3339, up to nanoseconds), ``None`` without one."""
    # Python 3.10 reads three or six digits.
    stamp = _FRACTION.sub(lambda match: f".{match[1][:6]:0<6}", stamp.replace("Z", "+00:00"))
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        return None


def created(manifest: Manifest) -> float:
    """Return when an object was created, in whole seconds since 1970."""
    return seconds(text(manifest, "metadata", "creationTimestamp")) or 0.0


def role_of(manifest: Manifest) -> str:
    """Return the exact name of the role that a Job, a pod or a template belongs to."""
    metadata = section(manifest, "metadata")
    return text(metadata, "annotations", ANNOTATION_ROLE_NAME) or text(metadata, "labels", LABEL_ROLE)


def replica_of(pod: Manifest) -> int:
    """Return the number of a pod's replica within its role."""
    metadata = section(pod, "metadata")
    for kind, key in (("annotations", COMPLETION_INDEX), ("labels", COMPLETION_INDEX), ("labels", TORCHX_REPLICA)):
        value = text(metadata, kind, key)
        if value.isascii() and value.isdecimal() and len(value) < 10:
            return int(value)
    return 0


def main_container(pod: Manifest) -> Manifest:
    """Return the status of the container that runs the role: the first one of the spec."""
    name = text(pod, "spec", "containers", 0, "name")
    statuses = items(pod, "status", "containerStatuses")
    return next((status for status in statuses if status.get("name") == name), _NO_OBJECT)
