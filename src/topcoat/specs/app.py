"""An application, and what a dry run of one gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from topcoat.specs.cfg import CfgVal
from topcoat.specs.role import Role

T = TypeVar("T")


@dataclass
class AppDef:
    """Declare an application: roles that are submitted together.

    Args:
        name: its name, from which the scheduler makes a unique id.
        roles: what it is made of, in order; the first one's first replica is rank 0.
        metadata: for the scheduler.
    """

    name: str
    roles: list[Role] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


class AppDryRunInfo(Generic[T]):
    """Hold the request that a scheduler would submit; ``print`` shows it.

    Made by ``Scheduler._submit_dryrun``; ``Scheduler.submit_dryrun`` and ``Runner.dryrun`` then note in
    ``_app``, ``_cfg`` and ``_scheduler`` what it was made from (TorchX's attributes, which schedulers read).

    Args:
        request: the scheduler's own request.
        fmt: turns the request into text.
    """

    def __init__(self, request: T, fmt: Callable[[T], str]) -> None:
        self.request = request
        self._fmt = fmt
        self._app: AppDef | None = None
        self._cfg: Mapping[str, CfgVal] = {}
        self._scheduler: str | None = None
        # What ``Runner.schedule`` carries out first (``topcoat.workspace.api.WorkspacePlan``).
        self._workspace_plan: Any = None

    @property
    def app(self) -> AppDef | None:
        """The application, ``None`` before the scheduler or runner noted it."""
        return self._app

    @property
    def cfg(self) -> Mapping[str, CfgVal]:
        """The resolved run options, read-only."""
        return MappingProxyType(dict(self._cfg))

    @property
    def scheduler(self) -> str | None:
        """The scheduler's name, ``None`` before the scheduler or runner noted it."""
        return self._scheduler

    def __repr__(self) -> str:
        return self._fmt(self.request)
