"""Declarations: applications, roles, resources, workspaces, run options.

Names, fields, defaults and parsing rules are TorchX's (``torchx.specs``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topcoat.errors import InvalidHandle as MalformedAppHandleException
    from topcoat.errors import InvalidRunConfigException
    from topcoat.errors import UnknownApp as UnknownAppException
    from topcoat.errors import UnknownScheduler as UnknownSchedulerException
    from topcoat.specs.app import AppDef, AppDryRunInfo, RetryPolicy, Role
    from topcoat.specs.builders import materialize_appdef
    from topcoat.specs.capabilities import CapabilityKey
    from topcoat.specs.cfg import CfgVal, get_type_name
    from topcoat.specs.handle import AppHandle, ParsedAppHandle, make_app_handle, parse_app_handle
    from topcoat.specs.home import TORCHX_HOME
    from topcoat.specs.mounts import BindMount, DeviceMount, MountType, VolumeMount, parse_mounts
    from topcoat.specs.named_resources_generic import GiB
    from topcoat.specs.resource_names import get_named_resources, named_resources, resource
    from topcoat.specs.resources import NULL_RESOURCE, Resource
    from topcoat.specs.run_options import runopt, runopts
    from topcoat.specs.sentinels import ALL, MISSING, NA, NONE, TORCHX_CONTEXT_NAME, UNKNOWN
    from topcoat.specs.status import (
        AppState,
        AppStatus,
        AppStatusError,
        ReplicaState,
        ReplicaStatus,
        RoleStatus,
        is_started,
        is_terminal,
    )
    from topcoat.specs.substitution import check_macros, macros
    from topcoat.specs.workspace import ProjectSpec, Workspace

__all__ = [
    "ALL", "MISSING", "NA", "NONE", "NULL_RESOURCE", "TORCHX_CONTEXT_NAME", "TORCHX_HOME", "UNKNOWN",
    "AppDef", "AppDryRunInfo", "AppHandle",
    "AppState", "AppStatus", "AppStatusError", "BindMount", "CapabilityKey", "CfgVal", "DeviceMount", "GiB",
    "InvalidRunConfigException",
    "MalformedAppHandleException", "MountType", "ParsedAppHandle", "ProjectSpec", "ReplicaState", "ReplicaStatus",
    "Resource", "RetryPolicy", "Role", "RoleStatus", "UnknownAppException", "UnknownSchedulerException",
    "VolumeMount", "Workspace", "check_macros", "get_named_resources", "get_type_name", "is_started", "is_terminal",
    "macros", "make_app_handle", "materialize_appdef", "named_resources", "parse_app_handle", "parse_mounts",
    "resource", "runopt", "runopts",
]  # fmt: skip

# Every command imports this package and most need little of it, so a module is imported when one of its names is used.
_MODULES = {
    "app": "AppDef AppDryRunInfo RetryPolicy Role",
    "builders": "materialize_appdef",
    "capabilities": "CapabilityKey",
    "cfg": "CfgVal get_type_name",
    "handle": "AppHandle ParsedAppHandle make_app_handle parse_app_handle",
    "home": "TORCHX_HOME",
    "mounts": "BindMount DeviceMount MountType VolumeMount parse_mounts",
    "named_resources_generic": "GiB",
    "resource_names": "get_named_resources named_resources resource",
    "resources": "NULL_RESOURCE Resource",
    "run_options": "runopt runopts",
    "sentinels": "ALL MISSING NA NONE TORCHX_CONTEXT_NAME UNKNOWN",
    "status": "AppState AppStatus AppStatusError ReplicaState ReplicaStatus RoleStatus is_started is_terminal",
    "substitution": "check_macros macros",
    "workspace": "ProjectSpec Workspace",
}
_EXPORTS = {name: (f"topcoat.specs.{module}", name) for module, names in _MODULES.items() for name in names.split()}
_EXPORTS |= {
    "InvalidRunConfigException": ("topcoat.errors", "InvalidRunConfigException"),
    "MalformedAppHandleException": ("topcoat.errors", "InvalidHandle"),
    "UnknownAppException": ("topcoat.errors", "UnknownApp"),
    "UnknownSchedulerException": ("topcoat.errors", "UnknownScheduler"),
}


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _EXPORTS[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
