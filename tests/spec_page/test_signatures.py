"""The page's API reference against ours: parameters, defaults, kinds and types of every public name."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, get_args, get_origin

import pytest
from docker import DockerClient
from fsspec import AbstractFileSystem

from topcoat.specs import AppDef, CfgVal, Role, runopts
from topcoat.workspace import WorkspaceMixin, walk_workspace
from topcoat.workspace.api import T
from topcoat.workspace.dir_workspace import DirWorkspaceMixin
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

_CFG = "Mapping[str, str | int | float | bool | list[str] | dict[str, str] | None]"

# As the page prints them, with the self that it omits.
PAGE: dict[Callable[..., object], str] = {
    WorkspaceMixin.__init__: "(self, *args: object, **kwargs: object) -> None",
    WorkspaceMixin.build_workspace_and_update_role: f"(self, role: Role, workspace: str, cfg: {_CFG}) -> None",
    WorkspaceMixin.build_workspaces: f"(self, roles: list[Role], cfg: {_CFG}) -> None",
    WorkspaceMixin.caching_build_workspace_and_update_role: (
        f"(self, role: Role, cfg: {_CFG}, build_cache: dict[object, object]) -> None"
    ),
    WorkspaceMixin.dryrun_push_images: f"(self, app: AppDef, cfg: {_CFG}) -> T",
    WorkspaceMixin.push_images: "(self, images_to_push: T) -> None",
    WorkspaceMixin.workspace_opts: "(self) -> runopts",
    walk_workspace: (
        "(fs: AbstractFileSystem, path: str, ignore_name: str = '.torchxignore')"
        " -> Iterable[tuple[str, Iterable[str], Mapping[str, Mapping[str, object]]]]"
    ),
    DockerWorkspaceMixin.__init__: (
        "(self, *args: object, docker_client: DockerClient | None = None, **kwargs: object) -> None"
    ),
    DockerWorkspaceMixin.build_workspace_and_update_role: f"(self, role: Role, workspace: str, cfg: {_CFG}) -> None",
    DockerWorkspaceMixin.dryrun_push_images: f"(self, app: AppDef, cfg: {_CFG}) -> dict[str, tuple[str, str]]",
    DockerWorkspaceMixin.push_images: "(self, images_to_push: dict[str, tuple[str, str]]) -> None",
    DockerWorkspaceMixin.workspace_opts: "(self) -> runopts",
    DirWorkspaceMixin.__init__: "(self, *args: object, **kwargs: object) -> None",
    DirWorkspaceMixin.build_workspace_and_update_role: f"(self, role: Role, workspace: str, cfg: {_CFG}) -> None",
}

_NAMES: dict[str, Any] = {
    "AbstractFileSystem": AbstractFileSystem,
    "AppDef": AppDef,
    "DockerClient": DockerClient,
    "Iterable": Iterable,
    "Mapping": Mapping,
    "Role": Role,
    "T": T,
    "runopts": runopts,
}


def _printed(signature: str) -> Callable[..., object]:
    """Return a function with the *signature* that the page prints."""
    namespace = dict(_NAMES)
    exec(f"def f{signature}: ...", namespace)
    function: Callable[..., object] = namespace["f"]
    return function


def _comparable(function: Callable[..., object]) -> list[tuple[str, object, object, object]]:
    """Return name, kind, default and type of each parameter, and the return type."""
    hints = typing.get_type_hints(function, localns=_NAMES)
    parameters = inspect.signature(function).parameters.values()
    rows = [(parameter.name, parameter.kind, parameter.default, hints.get(parameter.name)) for parameter in parameters]
    return [*rows, ("return", None, None, hints["return"])]


@pytest.mark.parametrize("function", PAGE, ids=lambda function: function.__qualname__)
def test_a_signature_equals_that_of_the_page(function: Callable[..., object]) -> None:
    assert _comparable(function) == _comparable(_printed(PAGE[function]))


def test_run_options_have_the_value_types_of_the_page() -> None:
    assert CfgVal == str | int | float | bool | list[str] | dict[str, str] | None


@pytest.mark.parametrize(
    ("mixin", "pushed"),
    [(DockerWorkspaceMixin, dict[str, tuple[str, str]]), (DirWorkspaceMixin, type(None))],
)
def test_the_base_class_of_a_built_in_mixin_equals_that_of_the_page(mixin: type, pushed: object) -> None:
    (base,) = mixin.__orig_bases__  # type: ignore[attr-defined]
    assert get_origin(base) is WorkspaceMixin
    assert get_args(base) == (pushed,)


def test_the_mixin_is_generic_in_the_type_of_pushed_images() -> None:
    assert Generic[T] in WorkspaceMixin.__orig_bases__  # type: ignore[attr-defined]


def test_every_public_method_of_the_mixins_has_a_docstring() -> None:
    for function in PAGE:
        if function.__name__ != "__init__":
            assert inspect.getdoc(function), function
