"""Roles as plain data for JSON, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from topcoat.specs import BindMount, DeviceMount, Resource, RetryPolicy, Role, VolumeMount, Workspace

_MOUNTS: Mapping[str, type[BindMount | VolumeMount | DeviceMount]] = {
    "bind": BindMount,
    "volume": VolumeMount,
    "device": DeviceMount,
}


def role_to_dict(role: Role) -> dict[str, Any]:
    """Return *role* as plain data for ``json.dumps``, whose *default* must convert what is left."""
    names = [field.name for field in dataclasses.fields(Role) if field.name != "overrides"]
    data = {name: getattr(role, name) for name in names}
    data["retry_policy"] = role.retry_policy.value
    data["resource"] = dataclasses.asdict(role.resource)
    data["workspace"] = None if role.workspace is None else role.workspace.projects
    data["mounts"] = [
        {"type": kind, **dataclasses.asdict(mount)}
        for mount in role.mounts
        for kind, type_ in _MOUNTS.items()
        if isinstance(mount, type_)
    ]
    return data


def role_from_dict(data: Mapping[str, Any]) -> Role:
    """Return the role that ``role_to_dict`` converted to *data*."""
    mounts = [dict(mount) for mount in data["mounts"]]
    values = {
        **data,
        "retry_policy": RetryPolicy(data["retry_policy"]),
        "resource": Resource(**data["resource"]),
        "workspace": None if data["workspace"] is None else Workspace(data["workspace"]),
        "mounts": [_MOUNTS[mount.pop("type")](**mount) for mount in mounts],
    }
    return Role(**values)
