"""Named resources: generic sizes, AWS instance types, and those of installed packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from topcoat.errors import UnknownResource
from topcoat.specs.resources import NULL_RESOURCE, Resource
from topcoat.suggest import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUPS = ("torchx.named_resources", "topcoat.named_resources")
"""Groups whose entry points add resources, or replace a built-in of the same name; the last group wins."""


class NamedResources(Mapping[str, Resource]):
    """Look up resources by name; every lookup returns a new object.

    An unknown name raises ``UnknownResource``, which is also a ``KeyError``.
    """

    def __getitem__(self, key: str) -> Resource:
        if key in self._plugins:
            return _from_plugin(self._plugins[key])
        try:
            return Resource.copy(self._builtin[key]())
        except KeyError:
            raise UnknownResource(f"unknown named resource {key!r}", hint=self._nearest(key)) from None

    def __contains__(self, key: object) -> bool:
        return key in self._plugins or key in self._builtin

    def __iter__(self) -> Iterator[str]:
        return iter({**self._builtin, **self._plugins})

    def __len__(self) -> int:
        return len({**self._builtin, **self._plugins})

    @cached_property
    def _builtin(self) -> Mapping[str, Callable[[], Resource]]:
        from topcoat.specs.named_resources_aws import named_resources as aws_resources
        from topcoat.specs.named_resources_generic import NAMED_RESOURCES

        return {**NAMED_RESOURCES, **aws_resources(), **dict.fromkeys(("NULL", "MISSING"), lambda: NULL_RESOURCE)}

    @cached_property
    def _plugins(self) -> Mapping[str, EntryPoint]:
        from importlib.metadata import entry_points

        return {entry.name: entry for group in ENTRY_POINT_GROUPS for entry in entry_points(group=group)}

    def _nearest(self, key: str) -> str:
        generic = [name for name in self if not name.startswith("aws_")]
        return did_you_mean(key, self, otherwise=f"choose {', '.join(generic)} or an AWS instance type (aws_...)")


def _from_plugin(entry: EntryPoint) -> Resource:
    from topcoat.torchx_alias import load_entry_point

    try:
        loaded: Any = load_entry_point(entry)()
        if isinstance(loaded, Resource):
            return loaded
        # A package for an installed TorchX returns TorchX's Resource, which has the same fields.
        return Resource(
            cpu=loaded.cpu,
            gpu=loaded.gpu,
            memMB=loaded.memMB,
            capabilities=dict(loaded.capabilities),
            devices=dict(getattr(loaded, "devices", {})),
            tags=dict(getattr(loaded, "tags", {})),
        )
    except Exception as error:
        raise UnknownResource(
            f"the named resource {entry.name!r} ({entry.value}) failed: {type(error).__name__}: {error}",
            hint="the entry point must name a function without arguments that returns a Resource",
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
