"""What one replica of a role needs: processors, GPUs, memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RESOURCE_NAME_TAG = "torchx/named_resources.name"
IS_FRACTIONAL_TAG = "torchx/named_resources.is_fractional"


@dataclass
class Resource:
    """Hold the needs of one replica (TorchX's names and fields).

    Args:
        cpu: logical processors.
        gpu: GPUs.
        memMB: memory in MiB.
        capabilities: what else the host must have; read by the scheduler.
        devices: device plugin name to count, such as ``{"vpc.amazonaws.com/efa": 4}``.
        tags: facts about the resource itself; read by no scheduler.
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
        """Tell whether this is a slice of a larger named resource, as its tags say."""
        return bool(self.tags.get(IS_FRACTIONAL_TAG, False))

    def get_resource_name(self) -> str | None:
        """Return the name under which the resource is registered, where its tags say so."""
        name = self.tags.get(RESOURCE_NAME_TAG)
        return None if name is None else str(name)


NULL_RESOURCE = Resource(cpu=-1, gpu=-1, memMB=-1)
"""Stands for "no matter": the scheduler's own defaults apply."""
