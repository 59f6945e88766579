"""A set of replicas that do the same duty."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from topcoat.specs.mounts import BindMount, DeviceMount, VolumeMount
from topcoat.specs.resources import NULL_RESOURCE, Resource
from topcoat.specs.sentinels import MISSING
from topcoat.specs.workspace import Workspace

if TYPE_CHECKING:
    from topcoat.specs.app import AppDryRunInfo


class RetryPolicy(str, Enum):
    """Say what is started again when a replica fails, is preempted or loses its host.

    REPLICA: that replica alone. APPLICATION: everything; every scheduler can do it. ROLE: the replicas of its
    role.
    """

    REPLICA = "REPLICA"
    APPLICATION = "APPLICATION"
    ROLE = "ROLE"


@dataclass
class Role:
    """Declare replicas that run the same command in the same image (TorchX's names, order and defaults).

    Args:
        name: unique within the application.
        image: what the command runs in: a container image, or a directory, as the scheduler understands it.
            A workspace build changes it in place.
        min_replicas: smallest number of replicas an elastic job may run with.
        entrypoint: the program.
        args: its arguments; macros are filled in.
        env: environment variables; macros are filled in.
        num_replicas: how many replicas to start.
        max_retries: how often to start again before giving up.
        retry_policy: what to start again.
        resource: needs of one replica.
        port_map: name to port.
        metadata: for the scheduler, keys like ``kubernetes`` or ``kubernetes/...``; macros are filled in.
        mounts: what of the host to show in the container.
        workspace: local code to lay over the image.
        overrides: TorchX-internal and deprecated: field name to value, or to a function that returns it;
            applied once, when the role is made.
    """

    name: str
    image: str
    min_replicas: int | None = None
    entrypoint: str = MISSING
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    num_replicas: int = 1
    max_retries: int = 0
    retry_policy: RetryPolicy = RetryPolicy.APPLICATION
    resource: Resource = field(default_factory=lambda: NULL_RESOURCE)
    port_map: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    mounts: list[BindMount | VolumeMount | DeviceMount] = field(default_factory=list)
    workspace: Workspace | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        overrides, self.overrides = self.overrides, {}
        for name, value in overrides.items():
            setattr(self, name, value() if callable(value) else value)

    def pre_proc(self, scheduler: str, dryrun_info: AppDryRunInfo[Any]) -> AppDryRunInfo[Any]:
        """Return *dryrun_info*, changed as this role needs it.

        Called for each role in order when a request for *scheduler* has been made. The default changes
        nothing.
        """
        return dryrun_info
