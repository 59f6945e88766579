"""What the scheduler can do with a replica: read its log, run commands in it, copy its files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from topcoat.errors import SchedulerError, UnknownApp, UsageError
from topcoat.notices import notice
from topcoat.schedulers.api import ReplicaTimes, Scheduler, Stream
from topcoat.schedulers.kubernetes.labels import split_app_id
from topcoat.schedulers.terminal import check_one_replica
from topcoat.specs import AppDryRunInfo, CfgVal

if TYPE_CHECKING:
    from topcoat.schedulers.kubernetes.client import Client
    from topcoat.schedulers.kubernetes.execute import RunningReplica
    from topcoat.schedulers.kubernetes.observe import AppObjects

T = TypeVar("T", bound=Mapping[str, CfgVal])


class ReplicaAbilities(Scheduler[T]):
    """The optional abilities of a scheduler, through the API server."""

    follows_pending: ClassVar[bool] = True

    def _client(self, cfg: Mapping[str, CfgVal] | None = None, app_id: str = "") -> Client:
        """Return the client of the cluster that has an application."""
        raise NotImplementedError

    def log_iter(
        self,
        app_id: str,
        role_name: str,
        k: int = 0,
        regex: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        should_tail: bool = False,
        streams: Stream | None = None,
    ) -> Iterable[str]:
        """Return the log lines of a replica, both outputs together: the cluster does not tell them apart."""
        from topcoat.schedulers.kubernetes.logs import replica_log

        if streams not in (None, Stream.COMBINED):
            raise UsageError(
                f"the scheduler {self.backend!r} cannot show {Stream(streams).value} alone: nodes keep one log",
                hint="leave out --streams",
            )
        self._check_replica(self._objects(app_id), app_id, role_name, k)
        return replica_log(
            self._client(None, app_id),
            *split_app_id(app_id),
            role_name,
            k,
            regex=regex,
            since=since,
            until=until,
            should_tail=should_tail,
        )

    def copy_from(self, app_id: str, role: str, replica: int, path: str, destination: str | os.PathLike[str]) -> None:
        """Copy a file or directory out of a running replica; its image needs tar."""
        self._running(app_id, role, replica).copy_from(path, destination)

    def copy_to(self, app_id: str, role: str, replica: int, source: str | os.PathLike[str], path: str) -> None:
        """Copy a local file or directory into a running replica; its image needs tar."""
        self._running(app_id, role, replica).copy_to(source, path)

    def execute(self, app_id: str, role: str, replica: int, command: Sequence[str], *, tty: bool = False) -> int:
        """Run *command* in a running replica and return its exit code."""
        return self._running(app_id, role, replica).execute(command, tty=tty)

    def make_interactive(self, dryrun_info: AppDryRunInfo[Any]) -> None:
        """Give the one container a terminal."""
        from topcoat.schedulers.kubernetes.request import set_interactive

        check_one_replica(sum(role.num_replicas for role in dryrun_info.app.roles) if dryrun_info.app else 1)
        set_interactive(dryrun_info.request)

    def attach(self, app_id: str, role: str, replica: int) -> None:
        """Connect this terminal to the process of a running replica until it ends."""
        running = self._running(app_id, role, replica)
        notice(f"connected to {role}/{replica}; what it printed before does not show here")
        running.attach(tty=sys.stdin.isatty())

    def replica_times(self, app_id: str) -> Sequence[ReplicaTimes]:
        """Return when each replica started and ended, and its exit code."""
        from topcoat.schedulers.kubernetes.read_back import read_app
        from topcoat.schedulers.kubernetes.replica_states import replica_times

        objects = self._objects(app_id)
        return replica_times(objects, [role.name for role in read_app(objects.owners).roles])

    def _objects(self, app_id: str) -> AppObjects:
        from topcoat.schedulers.kubernetes.observe import fetch

        objects = fetch(self._client(None, app_id), *split_app_id(app_id))
        if objects is None:
            raise UnknownApp(f"unknown application {app_id}", hint=f"topcoat list -s {self.backend}")
        return objects

    def _check_replica(self, objects: AppObjects, app_id: str, role: str, replica: int) -> None:
        from topcoat.schedulers.kubernetes.replica_states import replicas_of

        existing = [(item.role, item.number) for item in replicas_of(objects)]
        if (role, replica) not in existing:
            raise self._no_replica(app_id, role, replica, existing)

    def _running(self, app_id: str, role: str, replica: int) -> RunningReplica:
        from topcoat.schedulers.kubernetes.execute import RunningReplica
        from topcoat.schedulers.kubernetes.replica_states import replicas_of

        objects = self._objects(app_id)
        self._check_replica(objects, app_id, role, replica)
        found = next(item for item in replicas_of(objects) if (item.role, item.number) == (role, replica))
        if found.pod is None:
            raise SchedulerError(
                f"the replica {role}/{replica} does not run: {found.state}", hint="topcoat status HANDLE"
            )
        return RunningReplica(self._client(None, app_id), found.pod, f"{role}/{replica}")
