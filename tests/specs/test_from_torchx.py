from __future__ import annotations

import dataclasses
import sys
from enum import Enum
from types import ModuleType
from typing import Any

import pytest

from topcoat.errors import InvalidComponent
from topcoat.specs import AppDef, BindMount, Resource, RetryPolicy, Role, Workspace
from topcoat.specs.from_torchx import as_appdef

SOURCE = """
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

class RetryPolicy(str, Enum):
    REPLICA = "REPLICA"
    HOT_SPARE = "HOT_SPARE"

@dataclass
class Resource:
    cpu: int
    gpu: int
    memMB: int
    capabilities: dict = field(default_factory=dict)

@dataclass
class BindMount:
    src_path: str
    dst_path: str
    read_only: bool = False

@dataclass
class Workspace:
    projects: dict

@dataclass
class Role:
    name: str
    image: str
    base_image: Any = None
    args: list = field(default_factory=list)
    retry_policy: Any = RetryPolicy.REPLICA
    resource: Any = None
    mounts: list = field(default_factory=list)
    metadata: dict = field(default_factory=dict)
    workspace: Any = None

class Special(Role):
    pass

@dataclass
class AppDef:
    name: str
    roles: list
    metadata: dict = field(default_factory=dict)
"""


@pytest.fixture
def torchx() -> Any:
    """A TorchX of another version: other classes, some fields more, some fewer."""
    module = ModuleType("torchx.specs.api")
    sys.modules["torchx.specs.api"] = module
    try:
        exec(SOURCE, vars(module))
        yield module
    finally:
        del sys.modules["torchx.specs.api"]


def test_an_appdef_of_torchx_is_converted(torchx: Any) -> None:
    theirs = torchx.AppDef(
        "app",
        [
            torchx.Special(
                "r",
                "img",
                args=["a"],
                resource=torchx.Resource(1, 2, 3, {"c": 1}),
                mounts=[torchx.BindMount("/a", "/b")],
                metadata={"k": {"x": [1]}},
                workspace=torchx.Workspace({"/w": "t"}),
            )
        ],
        {"m": "1"},
    )
    ours = Role(
        "r",
        "img",
        args=["a"],
        retry_policy=RetryPolicy.REPLICA,
        resource=Resource(1, 2, 3, {"c": 1}),
        mounts=[BindMount("/a", "/b")],
        metadata={"k": {"x": [1]}},
        workspace=Workspace({"/w": "t"}),
    )
    assert as_appdef(theirs) == AppDef("app", [ours], {"m": "1"})


def test_an_unknown_retry_policy_is_an_error(torchx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = torchx.AppDef("app", [torchx.Role("r", "i", retry_policy=torchx.RetryPolicy.REPLICA)])
    monkeypatch.setattr(torchx.RetryPolicy.REPLICA, "_value_", "NEVER")
    with pytest.raises(InvalidComponent, match="invalid retry policy 'NEVER': choose REPLICA, APPLICATION, ROLE"):
        as_appdef(app)


def test_our_appdef_is_returned_unchanged_and_other_objects_give_none() -> None:
    app = AppDef("a")
    assert as_appdef(app) is app
    assert as_appdef("app") is None
    assert as_appdef(dataclasses.make_dataclass("AppDef", ["name"])("a")) is None
    assert as_appdef(Enum("AppDef", ["a"])) is None
