"""What the user declares: applications, roles, resources, workspaces, run options.

Names, fields, defaults and parsing rules are TorchX's (``torchx.specs``).
"""

from __future__ import annotations

from topcoat.errors import InvalidHandle as MalformedAppHandleException
from topcoat.errors import InvalidRunConfigException
from topcoat.errors import UnknownApp as UnknownAppException
from topcoat.errors import UnknownScheduler as UnknownSchedulerException
from topcoat.specs.app import AppDef, AppDryRunInfo
from topcoat.specs.builders import materialize_appdef
from topcoat.specs.cfg import CfgVal, get_type_name
from topcoat.specs.handle import AppHandle, ParsedAppHandle, make_app_handle, parse_app_handle
from topcoat.specs.home import TORCHX_HOME
from topcoat.specs.macros import check_macros, macros
from topcoat.specs.mounts import BindMount, DeviceMount, MountType, VolumeMount, parse_mounts
from topcoat.specs.named_resources import get_named_resources, named_resources, resource
from topcoat.specs.resource import NULL_RESOURCE, Resource
from topcoat.specs.role import RetryPolicy, Role
from topcoat.specs.runopts import runopt, runopts
from topcoat.specs.sentinels import ALL, MISSING, NONE, UNKNOWN
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
from topcoat.specs.workspace import Project, Workspace

__all__ = [
    "ALL",
    "MISSING",
    "NONE",
    "NULL_RESOURCE",
    "TORCHX_HOME",
    "UNKNOWN",
    "AppDef",
    "AppDryRunInfo",
    "AppHandle",
    "AppState",
    "AppStatus",
    "AppStatusError",
    "BindMount",
    "CfgVal",
    "DeviceMount",
    "InvalidRunConfigException",
    "MalformedAppHandleException",
    "MountType",
    "ParsedAppHandle",
    "Project",
    "ReplicaState",
    "ReplicaStatus",
    "Resource",
    "RetryPolicy",
    "Role",
    "RoleStatus",
    "UnknownAppException",
    "UnknownSchedulerException",
    "VolumeMount",
    "Workspace",
    "check_macros",
    "get_named_resources",
    "get_type_name",
    "is_started",
    "is_terminal",
    "macros",
    "make_app_handle",
    "materialize_appdef",
    "named_resources",
    "parse_app_handle",
    "parse_mounts",
    "resource",
    "runopt",
    "runopts",
]
