"""Convert an ``AppDef`` of an installed TorchX, whose classes have the same fields as ours."""

from __future__ import annotations

import dataclasses
from typing import Any

from topcoat.errors import InvalidComponent
from topcoat.specs.app import AppDef, RetryPolicy, Role
from topcoat.specs.mounts import BindMount, DeviceMount, VolumeMount
from topcoat.specs.resources import Resource
from topcoat.specs.workspace import Workspace

_OURS = {cls.__name__: cls for cls in (AppDef, Role, Resource, BindMount, VolumeMount, DeviceMount, Workspace)}


def as_appdef(value: object) -> AppDef | None:
    """Return *value* if it is an ``AppDef``, a converted copy if it is TorchX's ``AppDef``, else ``None``."""
    if type(value).__module__.partition(".")[0] == "torchx" and type(value).__name__ == "AppDef":
        value = _convert(value)
    return value if isinstance(value, AppDef) else None


def _convert(value: Any) -> Any:
    if isinstance(value, list):
        return [_convert(item) for item in value]
    if isinstance(value, dict):
        return {key: _convert(item) for key, item in value.items()}
    if type(value).__name__ == "RetryPolicy":
        return _retry_policy(value)
    # An instance of a user's subclass is converted as its TorchX base class.
    ours = next((_OURS[cls.__name__] for cls in type(value).__mro__ if cls.__name__ in _OURS), None)
    if ours is None or not dataclasses.is_dataclass(value):
        return value
    theirs = {field.name for field in dataclasses.fields(value)}
    shared = [field.name for field in dataclasses.fields(ours) if field.name in theirs and field.name != "overrides"]
    return ours(**{name: _convert(getattr(value, name)) for name in shared})


def _retry_policy(value: Any) -> RetryPolicy:
    try:
        return RetryPolicy(value.value)
    except ValueError:
        names = ", ".join(policy.value for policy in RetryPolicy)
        raise InvalidComponent(f"invalid retry policy {value.value!r}: choose {names}") from None
