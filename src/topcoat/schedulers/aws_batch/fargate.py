"""The sizes of Fargate: AWS takes only these pairs of CPUs and memory."""

from __future__ import annotations

from topcoat.errors import InvalidApp
from topcoat.specs import Role

_SIZES = {
    1: range(2048, 8192 + 1, 1024),
    2: range(4096, 16384 + 1, 1024),
    4: range(8192, 30720 + 1, 1024),
    8: range(16384, 61440 + 1, 4096),
    16: range(32768, 122880 + 1, 8192),
}
"""The MiB of memory that go with each number of vCPUs."""


def fargate_size(role: Role) -> tuple[int, int]:
    """Return the smallest vCPUs and MiB of Fargate that hold *role*.

    Raises:
        InvalidApp: Fargate has no size that is large enough.
    """
    cpu, memory = max(role.resource.cpu, 1), role.resource.memMB
    sizes = ((vcpus, mib) for vcpus, mibs in _SIZES.items() for mib in mibs if vcpus >= cpu and mib >= memory)
    size = next(sizes, None)
    if size is None:
        raise InvalidApp(
            f"role {role.name!r} asks for {cpu} vCPUs and {memory} MiB, and Fargate has at most 16 and 122880",
            hint="ask for less (--cpu, --memMB), or use a queue of EC2",
        )
    return size
