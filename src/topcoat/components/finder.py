"""Find components by name: built-in ones, and those of installed packages, files and modules."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from topcoat.components.loader import guarded, load_file, load_module
from topcoat.components.source import component_file
from topcoat.errors import InvalidComponent, TopcoatError, UnknownComponent
from topcoat.notices import notice
from topcoat.plugins.registry import PluginType, entry_points_in, registry
from topcoat.specs import AppDef
from topcoat.suggest import did_you_mean
from topcoat.torchx_alias import load_entry_point

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ComponentNotFoundException = UnknownComponent
"""TorchX's name."""

ComponentValidationException = InvalidComponent
"""TorchX's name."""

BUILTIN_MODULES = {"dist": "topcoat.components.dist", "utils": "topcoat.components.utils"}

ENTRY_POINT_GROUPS = ("torchx.components", "topcoat.components")
"""Groups whose entry points add components, or replace a built-in of the same name; the last group wins.

An entry point names a component or a module. A module's components are ``<entry>.<function>``, those of its submodules
``<entry>.<submodule>.<function>``, without ``<entry>.`` if the entry's name starts with ``_``.
"""


@dataclass(frozen=True)
class Component:
    """Describe a component.

    Args:
        name: the name that the user types.
        description: the first paragraph of its docstring.
        fn_name: the function's own name.
        fn: the function, for ``materialize_appdef``.
        validation_errors: always empty (TorchX's field); an invalid component raises an error instead.
    """

    name: str
    description: str
    fn_name: str
    fn: Callable[..., AppDef]
    validation_errors: list[str] = field(default_factory=list)


def get_component(name: str) -> Component:
    """Return the component *name*.

    Args:
        name: a name of ``get_components``, ``path/to/file.py:function``, ``package.module:function`` or
            ``package.module.function``.

    Raise ``UnknownComponent`` (TorchX: ``ComponentNotFoundException``), with similar names, if it does not exist, and
    ``InvalidComponent`` or ``MissingDependency`` if its file, module or package cannot be loaded.
    """
    source, colon, function = name.rpartition(":")
    if colon:
        is_file = source.endswith(".py") or "/" in source or "\\" in source
        return _function_of(load_file(source) if is_file else load_module(source), function, name)
    component = _find(name)
    if component is not None:
        return component
    source, _, function = name.rpartition(".")
    try:
        module = load_module(source) if source else None
    except UnknownComponent:
        module = None
    if module is None:
        raise UnknownComponent(f"unknown component {name!r}", hint=_known(name, _names()))
    return _function_of(module, function, name)


def get_components() -> dict[str, Component]:
    """Return the built-in components and those of installed packages by name, sorted.

    A package that cannot be loaded is left out, with a notice.
    """
    return {name: component for name in _names() if (component := _find(name))}


def get_builtin_source(name: str) -> str:
    """Return the source text of the component *name*, as a file that loads: see ``component_file``."""
    return component_file(get_component(name).fn)


def _find(name: str) -> Component | None:
    for entry in reversed(_entry_points()):
        may_have_it = entry.name.startswith("_") or f"{name}.".startswith(f"{entry.name}.")
        if may_have_it and (component := _load_entry(entry).get(name)) is not None:
            return component
    if (component := _namespace_components().get(name)) is not None:
        return component
    group = name.partition(".")[0]
    return _builtins(group).get(name) if group in BUILTIN_MODULES else None


def _names() -> list[str]:
    groups = [*map(_builtins, BUILTIN_MODULES), _namespace_components(), *map(_load_entry, _entry_points())]
    return sorted({name for group in groups for name in group})


def _builtins(group: str) -> Mapping[str, Component]:
    return _components_in(import_module(BUILTIN_MODULES[group]), group)


@cache
def _entry_points() -> list[EntryPoint]:
    return list(entry_points_in(*ENTRY_POINT_GROUPS).values())


@cache
def _namespace_components() -> Mapping[str, Component]:
    """Return the components of ``torchx_plugins.components``: ``<module>.<function>``, or the registered name."""
    components: dict[str, Component] = {}
    for module in registry().modules(PluginType.COMPONENT):
        components |= _functions_of(module, module.__name__.removeprefix(PluginType.COMPONENT.namespace).lstrip("."))
    for error in registry().errors:
        if error.module.startswith(PluginType.COMPONENT.namespace):
            notice(f"{error.module}: {error.error}, skipped")
    registered = registry().in_namespace(PluginType.COMPONENT)
    return components | {name: _component(name, function) for name, function in registered.items()}


@cache
def _load_entry(entry: EntryPoint) -> Mapping[str, Component]:
    try:
        loaded: Any = guarded(lambda: load_entry_point(entry), f"the entry point {entry.name} = {entry.value}")
        if isinstance(loaded, str):
            loaded = load_module(loaded)
    except TopcoatError as error:
        notice(f"{error}, skipped")
        return {}
    if not isinstance(loaded, ModuleType):
        return {entry.name: _component(entry.name, loaded)}
    return _components_in(loaded, "" if entry.name.startswith("_") else entry.name)


def _functions_of(module: ModuleType, prefix: str) -> dict[str, Component]:
    components = {}
    for name, function in vars(module).items():
        is_own = inspect.isfunction(function) and function.__module__ == module.__name__
        if is_own and not name.startswith("_") and _returns_appdef(function):
            full = f"{prefix}.{name}".lstrip(".")
            components[full] = _component(full, function)
    return components


def _components_in(module: ModuleType, prefix: str) -> dict[str, Component]:
    components = _functions_of(module, prefix)
    for child in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if child.name == "__main__":
            # A program: importing it may run it.
            continue
        try:
            submodule = load_module(f"{module.__name__}.{child.name}")
        except TopcoatError as error:
            notice(f"{error}, skipped")
        else:
            components.update(_components_in(submodule, f"{prefix}.{child.name}".lstrip(".")))
    return components


def _returns_appdef(function: Callable[..., object]) -> bool:
    annotation = getattr(function, "__annotations__", {}).get("return")
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return text.strip("'\"").rpartition(".")[2] == "AppDef"


def _function_of(module: ModuleType, function: str, name: str) -> Component:
    value = getattr(module, function, None)
    if inspect.isclass(value) and value.__module__ == module.__name__:
        value = _builder(value, name)
    if callable(value) and not inspect.isclass(value):
        return _component(name, value)
    own = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
    where = getattr(module, "__file__", None) or module.__name__
    raise UnknownComponent(f"{where} has no function {function!r}", hint=_known(function, own))


def _builder(cls: type[Any], name: str) -> Callable[..., AppDef]:
    """Return a component that makes a *cls* from its arguments and calls ``build()``."""
    if not callable(getattr(cls, "build", None)):
        raise InvalidComponent(
            f"{name} is a class without a method build", hint="define build(self) -> AppDef, or name a function"
        )

    @wraps(cls, updated=())
    def component(*args: Any, **kwargs: Any) -> AppDef:
        app: AppDef = cls(*args, **kwargs).build()
        return app

    return component


def _component(name: str, function: Callable[..., Any]) -> Component:
    description = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
    return Component(name, description, getattr(function, "__name__", name), function)


def _known(name: str, names: Sequence[str]) -> str:
    return did_you_mean(name, names, otherwise=f"known: {', '.join(names) or 'none'}")
