"""Accept the application of an installed TorchX, whose classes are not ours but have the same fields."""

from __future__ import annotations

import dataclasses
from typing import Any

from topcoat.errors import InvalidComponent
from topcoat.specs.app import AppDef
from topcoat.specs.mounts import BindMount, DeviceMount, VolumeMount
from topcoat.specs.resources import Resource
from topcoat.specs.role import RetryPolicy, Role
from topcoat.specs.workspace import Workspace

_OURS = {cls.__name__: cls for cls in (AppDef, Role, Resource, BindMount, VolumeMount, DeviceMount, Workspace)}


def as_appdef(value: object) -> AppDef | None:
    """Return *value* if it is an ``AppDef``, a converted copy if it is TorchX's, else ``None``."""
    if isinstance(value, AppDef):
        return value
    if type(value).__module__.partition(".")[0] == "torchx" and type(value).__name__ == "AppDef":
        converted = _convert(value)
        return converted if isinstance(converted, AppDef) else None
    return None


def _convert(value: Any) -> Any:
    if isinstance(value, list):
        return [_convert(item) for item in value]
    if isinstance(value, dict):
        return {key: _convert(item) for key, item in value.items()}
    if type(value).__name__ == "RetryPolicy":
        return _retry_policy(value)
    # A role's own subclass is converted as the class of TorchX that it is derived from.
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
        raise InvalidComponent(f"the retry policy {value.value} is not one of {names}") from None
