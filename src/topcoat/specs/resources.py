"""The resources of one replica: CPUs, GPUs, memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Resource:
    """Hold the resources of one replica (TorchX's names and fields).

    Args:
        cpu: logical CPUs.
        gpu: GPUs.
        memMB: memory in MiB.
        capabilities: other requirements on the host, for the scheduler.
        devices: device plugin name to count, such as ``{"vpc.amazonaws.com/efa": 4}``.
        tags: metadata about the resource itself, not for the scheduler.
    """

    cpu: int
    gpu: int
    memMB: int  # noqa: N815  (TorchX's name)
    capabilities: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    tags: dict[str, object] = field(default_factory=dict)

    @staticmethod
    def copy(original: Resource, **capabilities: Any) -> Resource:
        """Return an independent copy of *original* with *capabilities* added to its own."""
        return Resource(
            cpu=original.cpu,
            gpu=original.gpu,
            memMB=original.memMB,
            capabilities={**original.capabilities, **capabilities},
            devices=dict(original.devices),
            tags=dict(original.tags),
        )

    def is_fractional(self) -> bool:
        """Tell whether the tags mark this as a slice of a larger named resource."""
        from topcoat.plugins.register import resource_tags

        return bool(self.tags.get(resource_tags.IS_FRACTIONAL, False))

    def get_resource_name(self) -> str | None:
        """Return the name of the named resource, if the tags have it."""
        from topcoat.plugins.register import resource_tags

        name = self.tags.get(resource_tags.RESOURCE_NAME)
        return None if name is None else str(name)


NULL_RESOURCE = Resource(cpu=-1, gpu=-1, memMB=-1)
"""Unspecified: the scheduler's own defaults apply."""
