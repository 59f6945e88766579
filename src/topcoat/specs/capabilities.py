"""Typed keys of ``Resource.capabilities`` (TorchX's)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from topcoat.specs.resources import Resource

V = TypeVar("V")


@dataclass(frozen=True)
class CapabilityKey(Generic[V]):
    """Read and set the capability ``namespace.name``, whose values have the type *type*."""

    namespace: str
    name: str
    type: type[V]

    @property
    def key(self) -> str:
        """The key in ``Resource.capabilities``."""
        return f"{self.namespace}.{self.name}"

    def set(self, resource: Resource, value: V) -> None:
        """Set the capability of *resource*."""
        resource.capabilities[self.key] = value

    def get(self, resource: Resource, default: V | None = None) -> V | None:
        """Return the capability of *resource*, or *default*; raise ``TypeError`` for a value of another type."""
        if self.key not in resource.capabilities:
            return default
        value = resource.capabilities[self.key]
        if not isinstance(value, self.type) or (self.type is int and isinstance(value, bool)):
            raise TypeError(f"the capability {self.key} must be a {self.type.__name__}, not {value!r}")
        return value
