"""Find the plugins of installed packages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

from topcoat.errors import UsageError
from topcoat.torchx_alias import install_as_torchx_if_missing, load_entry_point

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from types import ModuleType

NAMESPACE = "torchx_plugins"
SOURCES_VARIABLE = "TORCHX_PLUGINS_SOURCE"
_NAMESPACE_SOURCE, _ENTRY_POINT_SOURCE = 1, 2


class PluginType(str, Enum):
    """List the types of plugins; the value is the entry point group."""

    SCHEDULER = "torchx.schedulers"
    NAMED_RESOURCE = "torchx.named_resources"
    COMPONENT = "torchx.components"
    TRACKER = "torchx.tracker"
    EVENT_HANDLER = "torchx.event_handlers"

    @property
    def namespace(self) -> str:
        """The namespace package for plugins of this type."""
        return f"{NAMESPACE}.{self.value.partition('.')[2]}"


@dataclass(frozen=True)
class RegistrationError:
    """Describe a module or plugin that was skipped, and why."""

    module: str
    error: str
    name: str | None = None
    plugin_type: str | None = None


class PluginRegistry:
    """Find plugins, each type when it is first asked for.

    Args:
        sources: 1 for the namespace packages, 2 for entry points, 3 for both.
    """

    def __init__(self, sources: int = _NAMESPACE_SOURCE | _ENTRY_POINT_SOURCE) -> None:
        self._sources = sources
        self._found: dict[PluginType, dict[str, Callable[..., Any]]] = {}
        self._errors: list[RegistrationError] = []

    def get(self, plugin_type: PluginType) -> dict[str, Callable[..., Any]]:
        """Return the functions of one type by name; an entry point comes before a namespace package."""
        if plugin_type not in self._found:
            self._found[plugin_type] = self.in_namespace(plugin_type) | {
                name: _deferred(entry) for name, entry in entry_points_in(plugin_type.value).items()
            }
        return self._found[plugin_type]

    def in_namespace(self, plugin_type: PluginType) -> dict[str, Callable[..., Any]]:
        """Return the marked functions of one type in the namespace packages, by name; the first of a name counts."""
        plugins: dict[str, Callable[..., Any]] = {}
        for module in self.modules(plugin_type):
            for value in list(vars(module).values()):
                marked = getattr(value, "_plugin_type", None)
                if marked is None or not callable(value) or value.__module__ != module.__name__:
                    continue
                name = str(getattr(value, "_plugin_name", ""))
                if marked != plugin_type.value:
                    error = f"{name!r} is registered as {marked.value}, and this package is for {plugin_type.value}"
                elif plugins.setdefault(name, value) is value:
                    continue
                else:
                    error = f"{name!r} is registered a second time, and the first one is used"
                self._errors.append(RegistrationError(module.__name__, error, name, plugin_type.name.lower()))
        return plugins

    def modules(self, plugin_type: PluginType) -> list[ModuleType]:
        """Return the modules of the namespace packages for one type; one that fails to import is an error."""
        if not self._sources & _NAMESPACE_SOURCE or not _exists(plugin_type.namespace):
            return []
        install_as_torchx_if_missing()
        return list(self._import_below(plugin_type.namespace))

    def _import_below(self, name: str) -> Iterator[ModuleType]:
        import importlib

        try:
            module = importlib.import_module(name)
        except Exception as error:  # a plugin may raise anything
            self._errors.append(RegistrationError(name, f"{type(error).__name__}: {error}"))
            return
        yield module
        for child in sorted({child for path in getattr(module, "__path__", ()) for child in _children(path)}):
            yield from self._import_below(f"{name}.{child}")

    def info(self, plugin_type: PluginType | None = None) -> dict[Any, Any]:
        """Return copies: name to function of one type, or of every type by type."""
        if plugin_type is not None:
            return dict(self.get(plugin_type))
        return {each: dict(self.get(each)) for each in PluginType}

    @property
    def errors(self) -> list[RegistrationError]:
        """What was skipped so far."""
        return list(self._errors)

    def load_errors(self, plugin_type: PluginType | None = None) -> list[RegistrationError]:
        """Find the plugins of one type, or of all, and return what was skipped."""
        for each in [plugin_type] if plugin_type else PluginType:
            self.get(each)
        return [error for error in self._errors if plugin_type is None or _concerns(error, plugin_type)]

    def clear(self) -> None:
        """Forget what was found, here and in ``registry()``."""
        self._found.clear()
        self._errors.clear()
        registry.cache_clear()

    def to_dict(self) -> dict[str, Any]:
        """Return name and module of every plugin, by type, and the errors."""
        data: dict[str, Any] = {
            each.name.lower(): [{"name": name, "module": plugin.__module__} for name, plugin in self.get(each).items()]
            for each in PluginType
        }
        data["errors"] = [{"module": error.module, "error": error.error} for error in self._errors]
        return data

    def __str__(self) -> str:
        """Return ``to_dict`` as YAML."""
        import yaml

        return str(yaml.safe_dump(self.to_dict(), sort_keys=False)).rstrip()


@cache
def registry() -> PluginRegistry:
    """Return the registry of this process. Raise ``UsageError`` if ``TORCHX_PLUGINS_SOURCE`` is not 0, 1, 2 or 3."""
    return PluginRegistry(_sources())


def entry_points_in(*groups: str) -> dict[str, EntryPoint]:
    """Return the entry points of *groups* by name; the last group wins. ``torchx.*`` groups may be turned off."""
    from importlib.metadata import entry_points

    use_torchx = bool(_sources() & _ENTRY_POINT_SOURCE)
    return {
        entry.name: entry
        for group in groups
        if use_torchx or not group.startswith("torchx.")
        for entry in entry_points(group=group)
    }


def _sources() -> int:
    text = os.environ.get(SOURCES_VARIABLE, "3")
    if text not in ("0", "1", "2", "3"):
        raise UsageError(
            f"invalid {SOURCES_VARIABLE} {text!r}",
            hint="1 for torchx_plugins packages, 2 for entry points, 3 for both, 0 for none",
        )
    return int(text)


def _deferred(entry: EntryPoint) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return load_entry_point(entry)(*args, **kwargs)

    call.__module__, call.__qualname__ = entry.module, entry.attr or entry.name
    return call


def _exists(name: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _children(directory: str) -> Iterator[str]:
    """Yield the names of the modules and packages in *directory*, also of packages without ``__init__.py``."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        stem, suffix = os.path.splitext(entry.name)
        if stem.isidentifier() and not stem.startswith("_") and (suffix == ".py" or (not suffix and entry.is_dir())):
            yield stem


def _concerns(error: RegistrationError, plugin_type: PluginType) -> bool:
    return error.plugin_type == plugin_type.name.lower() or f"{error.module}.".startswith(f"{plugin_type.namespace}.")
