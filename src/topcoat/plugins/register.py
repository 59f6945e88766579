"""The decorator that marks a function as a plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from topcoat.plugins.fractions import WHOLE, Fractions
from topcoat.plugins.registry import PluginType

F = TypeVar("F", bound=Callable[..., object])
Factory = Callable[..., Any]
"""A function that returns a ``Resource``."""


class resource_tags:  # noqa: N801  (TorchX's name)
    """Name the tags that ``register.named_resource`` sets on a resource."""

    RESOURCE_NAME = "torchx/named_resources.name"
    IS_FRACTIONAL = "torchx/named_resources.is_fractional"


class register:  # noqa: N801  (TorchX's name)
    """Mark a function as a plugin of one type, under *name* or its own name.

    ``register.scheduler()``, ``register.named_resource()``, ``register.component()`` and so on are the usual form. The
    function works as before; ``registry()`` finds it.
    """

    def __init__(self, type: PluginType, name: str | None = None) -> None:  # noqa: A002  (TorchX's name)
        self._type = type
        self._name = name

    def __call__(self, fn: F) -> F:
        return _mark(fn, self._type, self._name or fn.__name__)

    @classmethod
    def scheduler(cls, name: str | None = None) -> register:
        """Mark a function that returns a scheduler: ``(session_name, **kwargs)``."""
        return cls(PluginType.SCHEDULER, name)

    @classmethod
    def component(cls, name: str | None = None) -> register:
        """Mark a component; needed only for another name: ``torchx_plugins.components`` is searched for them."""
        return cls(PluginType.COMPONENT, name)

    @classmethod
    def tracker(cls, name: str | None = None) -> register:
        """Mark a function that returns an experiment tracker; topcoat itself uses none."""
        return cls(PluginType.TRACKER, name)

    @classmethod
    def event_handler(cls, name: str | None = None) -> register:
        """Mark a function that returns a handler of TorchX's events; topcoat itself uses none."""
        return cls(PluginType.EVENT_HANDLER, name)

    @classmethod
    def named_resource(
        cls,
        name: str | None = None,
        aliases: list[str] | None = None,
        fractionals: Callable[[Any], Fractions] | Fractions | None = None,
    ) -> Callable[[Factory], Factory]:
        """Mark a function that returns a resource.

        Args:
            name: the resource's name.
            aliases: other names for it.
            fractionals: fractions of it that get names of their own, ``<name>_<suffix>``, or a function that returns
                them for the resource, such as ``powers_of_two_gpus``. The marked function then takes ``fractional``.

        The functions are also attributes of the module, and in its ``NAMED_RESOURCES``. The decorator raises
        ``ValueError`` for a name that the module has already.
        """

        def decorate(fn: Factory) -> Factory:
            base = name or fn.__name__
            names = _ModuleNames(fn)
            whole = names.add(base, lambda *args, **kwargs: _tag(fn(*args, **kwargs), base, is_fractional=False))
            for alias in aliases or ():
                names.add(alias, _alias(whole))
            if fractionals is not None:
                for fraction, suffix in (fractionals(fn()) if callable(fractionals) else fractionals).items():
                    names.add(f"{base}_{suffix}", _slice(fn, fraction, f"{base}_{suffix}"))
            return whole

        return decorate


class _ModuleNames:
    """Add named resources to the module of the decorated function."""

    def __init__(self, fn: Factory) -> None:
        self._fn = fn
        self._module = vars(sys.modules[fn.__module__])

    def add(self, name: str, factory: Factory) -> Factory:
        resources = self._module.setdefault("NAMED_RESOURCES", {})
        if name in resources or (name in self._module and name != self._fn.__name__):
            raise ValueError(f"the module {self._fn.__module__} has two objects named {name!r}")
        factory.__module__, factory.__qualname__, factory.__doc__ = self._fn.__module__, name, self._fn.__doc__
        if name != self._fn.__name__:
            self._module[name] = factory
        resources[name] = _mark(factory, PluginType.NAMED_RESOURCE, name)
        return factory


def _alias(factory: Factory) -> Factory:
    """Return another function: each name marks its own."""

    def alias(*args: Any, **kwargs: Any) -> Any:
        return factory(*args, **kwargs)

    return alias


def _slice(fn: Factory, fraction: float, name: str) -> Factory:
    return lambda: _tag(fn(fraction), name, is_fractional=fraction != WHOLE)


def _tag(resource: Any, name: str, *, is_fractional: bool) -> Any:
    resource.tags.update({resource_tags.RESOURCE_NAME: name, resource_tags.IS_FRACTIONAL: is_fractional})
    return resource


def _mark(fn: F, plugin_type: PluginType, name: str) -> F:
    # TorchX's registry looks for these two attributes, so a marked function is a plugin for both.
    vars(fn).update(_plugin_type=plugin_type, _plugin_name=name)
    return fn
