"""Resources by name: generic sizes, AWS instance types, and those of installed packages."""

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
    """Look up resources by name; every look-up gives a new object.

    A name that is not there raises ``UnknownResource``, which is also a ``KeyError``.
    """

    def __getitem__(self, key: str) -> Resource:
        if key in self._plugins:
            return _from_plugin(self._plugins[key])
        try:
            return Resource.copy(self._builtin[key]())
        except KeyError:
            raise UnknownResource(f"there is no named resource {key!r}", hint=self._nearest(key)) from None

    def __contains__(self, key: object) -> bool:
        return key in self._plugins or key in self._builtin

    def __iter__(self) -> Iterator[str]:
        return iter({**self._builtin, **self._plugins})

    def __len__(self) -> int:
        return len({**self._builtin, **self._plugins})

    @cached_property
    def _builtin(self) -> Mapping[str, Callable[[], Resource]]:
        from topcoat.specs import named_resources_aws, named_resources_generic

        null = {name: lambda: NULL_RESOURCE for name in ("NULL", "MISSING")}
        return {**named_resources_generic.NAMED_RESOURCES, **named_resources_aws.named_resources(), **null}

    @cached_property
    def _plugins(self) -> Mapping[str, EntryPoint]:
        from importlib.metadata import entry_points

        return {entry.name: entry for group in ENTRY_POINT_GROUPS for entry in entry_points(group=group)}

    def _nearest(self, key: str) -> str:
        generic = [name for name in self if not name.startswith("aws_")]
        return did_you_mean(key, self, otherwise=f"some that are there: {', '.join(generic)}")


def _from_plugin(entry: EntryPoint) -> Resource:
    if entry.group.startswith("torchx."):
        from topcoat.torchx_alias import install_as_torchx_if_missing

        install_as_torchx_if_missing()
    try:
        made: Any = entry.load()()
        if isinstance(made, Resource):
            return made
        # A package that was written for an installed TorchX makes its Resource, of the same fields.
        return Resource(
            cpu=made.cpu,
            gpu=made.gpu,
            memMB=made.memMB,
            capabilities=dict(made.capabilities),
            devices=dict(getattr(made, "devices", {})),
            tags=dict(getattr(made, "tags", {})),
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
    """Return the named resource *h*, or one of the given size where *h* is empty.

    What is not given, or 0, is 2 processors, no GPU, 1024 MiB. Raise ``UnknownResource`` for an unknown name.
    """
    return named_resources[h] if h else Resource(cpu=cpu or 2, gpu=gpu or 0, memMB=memMB or 1024)


def get_named_resources(res: str) -> Resource:
    """Return the named resource *res* (TorchX's older name for ``resource(h=res)``)."""
    return named_resources[res]
