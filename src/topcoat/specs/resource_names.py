"""Named resources: generic sizes, AWS instance types, and those of installed packages."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

from topcoat.errors import UnknownResource
from topcoat.plugins.registry import PluginType, entry_points_in, registry
from topcoat.specs.resources import NULL_RESOURCE, Resource
from topcoat.suggest import did_you_mean
from topcoat.torchx_alias import load_entry_point

ENTRY_POINT_GROUPS = ("torchx.named_resources", "topcoat.named_resources")
"""Groups whose entry points add resources, or replace a built-in of the same name; the last group wins."""

CUSTOM_VARIABLE = "TORCHX_CUSTOM_NAMED_RESOURCES"
"""Names a module whose ``NAMED_RESOURCES`` adds resources (TorchX's variable)."""

Factory = Callable[[], Resource]


class NamedResources(Mapping[str, Resource]):
    """Look up resources by name; every lookup returns a new object.

    An exact name comes first, then one that differs in case only. An unknown name raises ``UnknownResource``, which is
    also a ``KeyError``.
    """

    def __getitem__(self, key: str) -> Resource:
        name = self._exact(key)
        if name is None:
            raise UnknownResource(f"unknown named resource {key!r}", hint=self._nearest(key))
        return Resource.copy(self._factories[name]())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._exact(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)

    def reset(self) -> None:
        """Find the resources again at the next lookup."""
        vars(self).pop("_factories", None)
        registry().clear()

    @cached_property
    def _factories(self) -> Mapping[str, Factory]:
        from topcoat.specs.named_resources_aws import named_resources as aws_resources
        from topcoat.specs.named_resources_generic import NAMED_RESOURCES

        plugins: dict[str, Callable[..., Any]] = registry().in_namespace(PluginType.NAMED_RESOURCE)
        return {
            **NAMED_RESOURCES,
            **aws_resources(),
            **dict.fromkeys(("NULL", "MISSING"), lambda: NULL_RESOURCE),
            **{name: partial(_call, name, CUSTOM_VARIABLE, factory) for name, factory in _custom().items()},
            **{name: partial(_call, name, plugin.__module__, plugin) for name, plugin in plugins.items()},
            **{
                name: partial(_call, name, entry.value, lambda entry=entry: load_entry_point(entry)())
                for name, entry in entry_points_in(*ENTRY_POINT_GROUPS).items()
            },
        }

    def _exact(self, key: str) -> str | None:
        if key in self._factories:
            return key
        same = [name for name in self._factories if name.lower() == key.lower()]
        return same[0] if len(same) == 1 else None

    def _nearest(self, key: str) -> str:
        generic = [name for name in self if not name.startswith("aws_")]
        return did_you_mean(key, self, otherwise=f"choose {', '.join(generic)} or an AWS instance type (aws_...)")


def _custom() -> Mapping[str, Callable[..., Any]]:
    module = os.environ.get(CUSTOM_VARIABLE)
    if not module:
        return {}
    try:
        resources: Mapping[str, Callable[..., Any]] = importlib.import_module(module).NAMED_RESOURCES
    except Exception as error:
        raise UnknownResource(
            f"the named resources of {CUSTOM_VARIABLE}={module} cannot be loaded: {type(error).__name__}: {error}",
            hint="it must name a module with NAMED_RESOURCES: a dict of names to functions that return a Resource",
        ) from error
    return resources


def _call(name: str, owner: str, factory: Callable[..., Any]) -> Resource:
    try:
        resource: Any = factory()
        if isinstance(resource, Resource):
            return resource
        # A package for an installed TorchX returns TorchX's Resource, which has the same fields.
        return Resource(
            cpu=resource.cpu,
            gpu=resource.gpu,
            memMB=resource.memMB,
            capabilities=dict(resource.capabilities),
            devices=dict(getattr(resource, "devices", {})),
            tags=dict(getattr(resource, "tags", {})),
        )
    except Exception as error:
        raise UnknownResource(
            f"the named resource {name!r} ({owner}) failed: {type(error).__name__}: {error}",
            hint="it must be a function without arguments that returns a Resource",
        ) from error


named_resources = NamedResources()
"""Every named resource, by name."""


def resource(
    cpu: int | None = None,
    gpu: int | None = None,
    memMB: int | None = None,  # noqa: N803  (TorchX's name)
    h: str | None = None,
) -> Resource:
    """Return the named resource *h*, or a resource of the given size if *h* is empty.

    The defaults, also for 0, are 2 CPUs, no GPU and 1024 MiB. Raise ``UnknownResource`` for an unknown name.
    """
    return named_resources[h] if h else Resource(cpu=cpu or 2, gpu=gpu or 0, memMB=memMB or 1024)


def get_named_resources(res: str) -> Resource:
    """Return the named resource *res* (TorchX's older name for ``resource(h=res)``)."""
    return named_resources[res]
