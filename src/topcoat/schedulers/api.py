"""The base class of all schedulers (TorchX's ``torchx.schedulers.api``)."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from inspect import signature
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

from topcoat.errors import InvalidApp, UsageError
from topcoat.schedulers.logs import filter_regex, split_lines, split_lines_iterator
from topcoat.schedulers.responses import (
    DescribeAppResponse,
    Freeable,
    JobOutputs,
    ListAppResponse,
    ReplicaTimes,
    Stream,
)
from topcoat.schedulers.structured_opts import StructuredOpts, is_structured
from topcoat.specs import NULL_RESOURCE, AppDef, AppDryRunInfo, CfgVal, Workspace, runopts
from topcoat.specs.delivery import Delivered
from topcoat.workspace.hooks import WorkspaceHooks

__all__ = [
    "AppDryRunInfo",
    "DescribeAppResponse",
    "Freeable",
    "JobOutputs",
    "ListAppResponse",
    "ReplicaTimes",
    "Scheduler",
    "Stream",
    "StructuredOpts",
    "filter_regex",
    "split_lines",
    "split_lines_iterator",
]


T = TypeVar("T", bound=Mapping[str, CfgVal])

# The id that a plan has chosen, while a subclass's ``submit_dryrun`` makes the request for it.
_planned_app_id: ContextVar[str | None] = ContextVar("planned_app_id", default=None)


class Scheduler(WorkspaceHooks, abc.ABC, Generic[T]):
    """Submit applications to one kind of backend, and manage them there.

    The type argument is the type of ``cfg``: a mapping, or a ``StructuredOpts`` subclass, into which every ``cfg`` is
    converted. To lay local code over images, add a ``WorkspaceMixin`` to the bases, before or after this class; without
    one, a role with a workspace is refused.

    A backend need not support everything: logs, copying files, running commands in a replica, the times of replicas
    and freeing space raise ``UsageError`` unless they are overridden.

    Attributes:
        backend: the scheduler's name, first part of its handles.
        session_name: the second part.
        poll_interval: the maximum pause of ``Runner.wait`` between two status requests, in seconds.
        follows_pending: whether ``log_iter`` can follow a log before the application runs.
    """

    poll_interval: ClassVar[float] = float("inf")
    follows_pending: ClassVar[bool] = False

    def __init__(self, backend: str, session_name: str, **kwargs: object) -> None:
        """Name the scheduler; *kwargs* are for a workspace mixin that comes after this class among the bases."""
        super().__init__(**kwargs)
        self.backend = backend
        self.session_name = session_name

    def close(self) -> None:
        """Close connections and files; jobs go on. May be called more than once."""

    def submit(self, app: AppDef, cfg: T, workspace: str | Workspace | None = None) -> str:
        """Build the workspaces of *app*, submit it, and return its id. Outside of tests, use ``Runner.run``.

        *workspace* becomes the first role's. *app* is changed in place.
        """
        if workspace:
            app.roles[0].workspace = Workspace.from_str(workspace) if isinstance(workspace, str) else workspace
        app_id = self.new_app_id(app)
        resolved = self.complete_cfg(app, self.run_opts().resolve(cfg), app_id)
        if any(role.workspace for role in app.roles):
            self.build_workspaces(app.roles, resolved)
        return self.schedule(self._dryrun_info(app, self._typed_cfg(resolved), app_id))

    @abc.abstractmethod
    def schedule(self, dryrun_info: AppDryRunInfo[Any]) -> str:
        """Submit the request of a dry run and return the application's id."""

    def plan(self, app: AppDef, cfg: Mapping[str, CfgVal], scheduler: str = "") -> AppDryRunInfo[Any]:
        """Plan the workspaces of *app* and return the request that ``schedule`` would submit once they are delivered.

        Args:
            app: changed in place: its roles use what will be delivered.
            cfg: run options as the user gave them; they are resolved once, here.
            scheduler: the name that the user knows this scheduler by; ``backend`` by default.
        """
        name = scheduler or self.backend
        app_id = self.new_app_id(app)
        resolved = self.complete_cfg(app, self.run_opts().resolve(cfg), app_id)
        typed = self._typed_cfg(resolved)
        self._pre_build_validate(app, name, typed)
        workspace_plan = self.plan_workspaces(app.roles, resolved)
        if workspace_plan is None and any(role.workspace for role in app.roles):
            self.build_workspaces(app.roles, resolved)
        if len(signature(self._validate).parameters) == 2:
            self._validate(app, name)  # type: ignore[call-arg]  # as in TorchX 0.7
        else:
            self._validate(app, name, typed)
        if type(self).submit_dryrun is Scheduler.submit_dryrun:
            info = self._dryrun_info(app, typed, app_id)
        else:
            # A subclass may add to the request there, as in TorchX. Its call of the original has no place for the id.
            token = _planned_app_id.set(app_id)
            try:
                info = self.submit_dryrun(app, typed)
            finally:
                _planned_app_id.reset(token)
        info.fill_in(app=app, cfg=typed, scheduler=name, app_id=app_id, workspace_plan=workspace_plan)
        return info

    def submit_dryrun(self, app: AppDef, cfg: T) -> AppDryRunInfo[Any]:
        """Return the request that ``schedule`` would submit for *app*, whose images are final.

        *cfg* is resolved against ``run_opts`` and converted to the scheduler's own type.
        """
        planned = _planned_app_id.get()
        app_id = self.new_app_id(app) if planned is None else planned
        return self._dryrun_info(app, self._typed_cfg(self.run_opts().resolve(cfg)), app_id)

    def _dryrun_info(self, app: AppDef, cfg: T, app_id: str) -> AppDryRunInfo[Any]:
        info = self._make_request(app, cfg, app_id)
        for role in app.roles:
            info = role.pre_proc(self.backend, info)
        info.fill_in(app=app, cfg=cfg, app_id=app_id)
        return info

    def new_app_id(self, app: AppDef) -> str:
        """Return a new id for *app*, before its workspaces are delivered.

        Empty, the default, means that the backend chooses the id when the application is submitted.
        """
        return ""

    def _make_request(self, app: AppDef, cfg: T, app_id: str) -> AppDryRunInfo[Any]:
        """Make the backend's request for *app* under the id of ``new_app_id``."""
        return self._submit_dryrun(app, cfg)

    @abc.abstractmethod
    def _submit_dryrun(self, app: AppDef, cfg: T) -> AppDryRunInfo[Any]:
        """Make the backend's request for *app*; *cfg* is resolved and ``role.image`` is final."""

    def update_request(self, dryrun_info: AppDryRunInfo[Any], delivered: Mapping[str, Delivered]) -> None:
        """Put into the request what was *delivered* for each role, such as an image with its digest.

        ``Runner.schedule`` calls this before it submits. The request was made before the delivery, with the tag of the
        image. The default leaves the request as it is.
        """

    def abandon(self, dryrun_info: AppDryRunInfo[Any]) -> None:
        """Remove what a delivery that failed has left for this request. The default does nothing."""

    def _typed_cfg(self, resolved: Mapping[str, CfgVal]) -> T:
        opts = type(self)._opts_type()
        return cast(T, resolved if opts is None else opts.from_cfg(resolved))

    @classmethod
    def _opts_type(cls) -> type[StructuredOpts] | None:
        """Return the ``StructuredOpts`` subclass in ``Scheduler[...]``, ``None`` if it is another type."""
        for klass in cls.__mro__:
            for base in getattr(klass, "__orig_bases__", ()):
                if get_origin(base) is Scheduler:
                    (opts,) = get_args(base)
                    return opts if is_structured(opts) else None
        return None

    def run_opts(self) -> runopts:
        """Return the options that this scheduler and its workspace accept."""
        return self._run_opts() | self.workspace_opts()

    def _run_opts(self) -> runopts:
        return runopts()

    def complete_cfg(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> Mapping[str, CfgVal]:
        """Return the resolved *cfg* with the options filled in whose default depends on *app* or on its id."""
        return cfg

    @abc.abstractmethod
    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Return what the backend knows of an application, ``None`` if it has none of that id."""

    def describe_patiently(self, app_id: str) -> DescribeAppResponse | None:
        """Return what `describe` returns, for somebody who waits: a failure that may pass is borne for a while.

        The default is `describe`.
        """
        return self.describe(app_id)

    @abc.abstractmethod
    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return the applications of this backend; *cfg* may say where to look."""

    def exists(self, app_id: str) -> bool:
        """Return whether the backend has an application of that id."""
        return self.describe(app_id) is not None

    def cancel(self, app_id: str) -> None:
        """Ask an application to end, without waiting for it. An unknown id is ignored."""
        if self.exists(app_id):
            self._cancel_existing(app_id)

    @abc.abstractmethod
    def _cancel_existing(self, app_id: str) -> None:
        """Ask an application to end; it exists."""

    def delete(self, app_id: str) -> None:
        """Remove an application from the backend, cancelled first if it still runs."""
        if self.exists(app_id):
            self._delete_existing(app_id)

    def _delete_existing(self, app_id: str) -> None:
        self._cancel_existing(app_id)

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
        """Return the log lines of replica *k* of a role, newlines kept.

        An unfinished line may come in pieces, so print them with ``end=""``.

        Args:
            app_id: an application that exists.
            role_name: the role.
            k: number of the replica within it.
            regex: return only lines that contain a match.
            since: return only lines written since then; a naive time is local time.
            until: return only lines written until then.
            should_tail: go on until the application has ended.
            streams: which output; ``None`` is the scheduler's default.

        Raises:
            UsageError: the scheduler has no logs, or not this stream, or the job has no such replica.
        """
        raise self._unsupported("show logs", "let the job write its logs to a mount or to object storage")

    def copy_from(self, app_id: str, role: str, replica: int, path: str, destination: str | os.PathLike[str]) -> None:
        """Copy a file or directory of a replica to this machine.

        Args:
            app_id: an application that exists.
            role: name of the role.
            replica: number of the replica within it.
            path: in the replica; a relative one starts at its working directory.
            destination: the local path that it gets; its parent exists.

        Raises:
            UsageError: the scheduler cannot do this, or the job has no such replica.
            SchedulerError: the backend cannot copy it.
        """
        raise self._unsupported("copy files out of a job", "let the job write them to a mount (--mount) or upload them")

    def copy_to(self, app_id: str, role: str, replica: int, source: str | os.PathLike[str], path: str) -> None:
        """Copy a local file or directory into a replica; the arguments and errors are those of ``copy_from``."""
        raise self._unsupported("copy files into a job", "put them into the workspace or on a mount (--mount)")

    def execute(self, app_id: str, role: str, replica: int, command: Sequence[str], *, tty: bool = False) -> int:
        """Run *command* in a running replica, beside its own process, and return its exit code.

        It uses this process's standard input, output and error; with *tty*, as a terminal.

        Raises:
            UsageError: the scheduler cannot do this, or the job has no such replica.
            SchedulerError: the replica does not run, or the backend cannot start the command.
        """
        raise self._unsupported("run commands in a job", "run them as a job of their own: topcoat run -- CMD")

    def make_interactive(self, dryrun_info: AppDryRunInfo[Any]) -> None:
        """Change the request of a dry run so that ``attach`` can connect a terminal to its one replica.

        Raises:
            UsageError: the scheduler cannot do this.
        """
        raise self._unsupported("run a job in a terminal", "without -i; topcoat exec runs a command in a running job")

    def attach(self, app_id: str, role: str, replica: int) -> None:
        """Connect this terminal to the process of a running replica until it ends or the user detaches.

        The errors are those of ``execute``.
        """
        raise self._unsupported("attach a terminal to a job", "topcoat log -f shows its output")

    def replica_times(self, app_id: str) -> Sequence[ReplicaTimes]:
        """Return when each replica started and ended, and its exit code, in the order of the roles.

        Raises:
            UsageError: the scheduler cannot do this.
        """
        raise self._unsupported("say when replicas started and ended", "topcoat status shows their states")

    def outputs(self, app_id: str) -> JobOutputs | None:
        """Return which files an application wrote into its job directory; ``None`` without files or directory."""
        return None

    def freeable(self) -> Sequence[Freeable]:
        """Return what this scheduler keeps and no longer needs; by default nothing. Jobs that run are not in it."""
        return []

    def free(self, item: Freeable) -> None:
        """Remove an item of ``freeable``; one that no longer exists is ignored.

        Raises:
            UsageError: the scheduler cannot do this.
        """
        raise self._unsupported("free space", "topcoat delete removes a job and what is kept of it")

    def _unsupported(self, action: str, hint: str) -> UsageError:
        return UsageError(f"the scheduler {self.backend!r} cannot {action}", hint=hint)

    def _no_replica(self, app_id: str, role: str, replica: int, existing: Iterable[tuple[str, int]]) -> UsageError:
        names = ", ".join(f"{role}/{number}" for role, number in sorted(existing))
        return UsageError(f"the job {app_id} has no replica {role}/{replica}", hint=f"it has {names or 'none'}")

    def _pre_build_validate(self, app: AppDef, scheduler: str, cfg: T) -> None:
        """Check *app* before its workspaces are built or planned."""

    def _validate(self, app: AppDef, scheduler: str, cfg: T) -> None:
        """Check *app* when its images are final; by default every role must have a resource."""
        for role in app.roles:
            if role.resource == NULL_RESOURCE:
                raise InvalidApp(
                    f"role {role.name!r} has no resource, and {scheduler} needs one",
                    hint="add resource=Resource(cpu=..., gpu=..., memMB=...), or --cpu and --memMB",
                )
