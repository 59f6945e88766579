"""Find components by name: built in, from installed packages, from a file or module."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from topcoat.components.loader import guarded, load_file, load_module
from topcoat.errors import InvalidComponent, TopcoatError, UnknownComponent
from topcoat.notices import notice
from topcoat.specs import AppDef
from topcoat.suggest import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ComponentNotFoundException = UnknownComponent
"""TorchX's name."""

ComponentValidationException = InvalidComponent
"""TorchX's name."""

BUILTIN_MODULES = {"dist": "topcoat.components.dist", "utils": "topcoat.components.utils"}

ENTRY_POINT_GROUPS = ("torchx.components", "topcoat.components")
"""Groups whose entry points add components, or replace a built-in of the same name; the last group wins.

An entry point names a module, whose components are ``<entry>.<function>``, those of its submodules
``<entry>.<submodule>.<function>`` (an entry that begins with ``_`` is left out of the names), or a component.
"""


@dataclass(frozen=True)
class Component:
    """Describe a component.

    Args:
        name: how the user names it.
        description: the first paragraph of its docstring.
        fn_name: the function's own name.
        fn: the function, for ``materialize_appdef``.
        validation_errors: always empty; one that cannot be used is an error instead (TorchX's field).
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

    Raise ``UnknownComponent`` (TorchX: ``ComponentNotFoundException``), with the nearest names, if there is
    none, and ``InvalidComponent`` or ``MissingDependency`` if what should have it cannot be loaded.
    """
    place, colon, function = name.rpartition(":")
    if colon:
        is_file = place.endswith(".py") or "/" in place or "\\" in place
        return _function_of(load_file(place) if is_file else load_module(place), function, name)
    found = _REGISTRY.find(name)
    if found is not None:
        return found
    place, _, function = name.rpartition(".")
    try:
        module = load_module(place) if place else None
    except UnknownComponent:
        module = None
    if module is None:
        raise UnknownComponent(f"there is no component {name!r}", hint=_known(name, _REGISTRY.names()))
    return _function_of(module, function, name)


def get_components() -> dict[str, Component]:
    """Return every component that is built in or that an installed package adds, by name, sorted.

    A package that cannot be loaded is left out, with a notice.
    """
    return {name: component for name in sorted(_REGISTRY.names()) if (component := _REGISTRY.find(name))}


def get_builtin_source(name: str) -> str:
    """Return the source text of the component *name*."""
    return inspect.getsource(get_component(name).fn)


class Registry:
    """Know the components that have a name of their own; loads a module when a name of it is asked for."""

    def find(self, name: str) -> Component | None:
        """Return the component *name*, or ``None``."""
        for entry in reversed(self._entry_points):
            may_have_it = entry.name.startswith("_") or f"{name}.".startswith(f"{entry.name}.")
            if may_have_it and (component := self._components_of(entry).get(name)) is not None:
                return component
        group = name.partition(".")[0]
        if group in BUILTIN_MODULES:
            return _components_in(import_module(BUILTIN_MODULES[group]), group).get(name)
        return None

    def names(self) -> list[str]:
        """Return every name."""
        names = {
            name for group, module in BUILTIN_MODULES.items() for name in _components_in(import_module(module), group)
        }
        return sorted(names.union(*(self._components_of(entry) for entry in self._entry_points)))

    @cached_property
    def _entry_points(self) -> list[EntryPoint]:
        from importlib.metadata import entry_points

        return [entry for group in ENTRY_POINT_GROUPS for entry in entry_points(group=group)]

    @cached_property
    def _loaded(self) -> dict[EntryPoint, Mapping[str, Component]]:
        return {}

    def _components_of(self, entry: EntryPoint) -> Mapping[str, Component]:
        if entry not in self._loaded:
            self._loaded[entry] = _load_entry(entry)
        return self._loaded[entry]


_REGISTRY = Registry()


def _load_entry(entry: EntryPoint) -> Mapping[str, Component]:
    try:
        loaded: Any = guarded(entry.load, f"the entry point {entry.name} = {entry.value}")
    except TopcoatError as error:
        notice(f"{error}, left out")
        return {}
    if isinstance(loaded, str):
        loaded = load_module(loaded)
    if not isinstance(loaded, ModuleType):
        return {entry.name: _component(entry.name, loaded)}
    return _components_in(loaded, "" if entry.name.startswith("_") else entry.name)


def _components_in(module: ModuleType, prefix: str) -> dict[str, Component]:
    found = {}
    for name, function in vars(module).items():
        own = inspect.isfunction(function) and function.__module__ == module.__name__
        if own and not name.startswith("_") and _returns_appdef(function):
            full = f"{prefix}.{name}".lstrip(".")
            found[full] = _component(full, function)
    for child in pkgutil.iter_modules(getattr(module, "__path__", ())):
        submodule = import_module(f"{module.__name__}.{child.name}")
        found.update(_components_in(submodule, f"{prefix}.{child.name}".lstrip(".")))
    return found


def _returns_appdef(function: Callable[..., object]) -> bool:
    annotation = getattr(function, "__annotations__", {}).get("return")
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return text.strip("'\"").rpartition(".")[2] == "AppDef"


def _function_of(module: ModuleType, function: str, name: str) -> Component:
    found = getattr(module, function, None)
    if callable(found) and not inspect.isclass(found):
        return _component(name, found)
    own = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
    where = getattr(module, "__file__", None) or module.__name__
    raise UnknownComponent(f"{where} has no function {function!r}", hint=_known(function, own))


def _component(name: str, function: Callable[..., Any]) -> Component:
    description = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
    return Component(name, description, getattr(function, "__name__", name), function)


def _known(name: str, names: Sequence[str]) -> str:
    return did_you_mean(name, names, otherwise=f"known: {', '.join(names) or 'none'}")
