"""What a scheduler is: the one class to implement, and what its methods return (TorchX's names)."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

from topcoat.errors import InvalidApp, UsageError
from topcoat.schedulers.logs import filter_regex, split_lines, split_lines_iterator
from topcoat.schedulers.structured_opts import StructuredOpts, is_structured
from topcoat.specs import (
    NONE,
    NULL_RESOURCE,
    AppDef,
    AppDryRunInfo,
    AppState,
    CfgVal,
    Role,
    RoleStatus,
    Workspace,
    runopts,
)
from topcoat.specs.delivery import Delivered
from topcoat.workspace.hooks import WorkspaceHooks

__all__ = [
    "AppDryRunInfo",
    "DescribeAppResponse",
    "ListAppResponse",
    "Scheduler",
    "Stream",
    "StructuredOpts",
    "filter_regex",
    "split_lines",
    "split_lines_iterator",
]


class Stream(str, Enum):
    """Name the outputs of a replica."""

    STDOUT = "stdout"
    STDERR = "stderr"
    COMBINED = "combined"


@dataclass
class DescribeAppResponse:
    """Hold what a scheduler knows of an application."""

    app_id: str = "<NOT_SET>"
    state: AppState = AppState.UNSUBMITTED
    num_restarts: int = -1
    msg: str = NONE
    structured_error_msg: str = NONE
    ui_url: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    roles_statuses: list[RoleStatus] = field(default_factory=list)
    roles: list[Role] = field(default_factory=list)


@dataclass
class ListAppResponse:
    """Hold one line of a list of applications; the runner fills in the handle."""

    app_id: str
    state: AppState
    app_handle: str = "<NOT_SET>"
    name: str = ""

    def __hash__(self) -> int:
        return hash((self.app_id, self.app_handle, self.state))


T = TypeVar("T", bound=Mapping[str, CfgVal])


class Scheduler(WorkspaceHooks, abc.ABC, Generic[T]):
    """Submit applications to one kind of backend, and ask it about them.

    The type argument is what ``cfg`` is: a mapping, or a ``StructuredOpts`` subclass, into which every
    ``cfg`` is then converted. To lay local code over images, add a ``WorkspaceMixin`` to the bases, before or after
    this class; without one, a role with a workspace is refused.

    Attributes:
        backend: the scheduler's name, first part of its handles.
        session_name: the second part.
        poll_interval: the longest that ``Runner.wait`` pauses between two questions, in seconds.
    """

    poll_interval: ClassVar[float] = float("inf")

    def __init__(self, backend: str, session_name: str, **kwargs: object) -> None:
        """Name the scheduler; *kwargs* are for a workspace mixin that comes after this class among the bases."""
        super().__init__(**kwargs)
        self.backend = backend
        self.session_name = session_name

    def close(self) -> None:
        """Let go of connections and files; jobs go on. May be called more than once."""

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
        self._validate(app, name, typed)
        info = self._dryrun_info(app, typed, app_id)
        info.fill_in(app=app, cfg=typed, scheduler=name, app_id=app_id, workspace_plan=workspace_plan)
        return info

    def submit_dryrun(self, app: AppDef, cfg: T) -> AppDryRunInfo[Any]:
        """Return the request that ``schedule`` would submit for *app*, whose images are final.

        *cfg* is resolved against ``run_opts`` and converted to the scheduler's own type.
        """
        return self._dryrun_info(app, self._typed_cfg(self.run_opts().resolve(cfg)), self.new_app_id(app))

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

    def _typed_cfg(self, resolved: Mapping[str, CfgVal]) -> T:
        opts = type(self)._opts_type()
        return cast(T, resolved if opts is None else opts.from_cfg(resolved))

    @classmethod
    def _opts_type(cls) -> type[StructuredOpts] | None:
        """Return the ``StructuredOpts`` subclass in ``Scheduler[...]``, if that is what is there."""
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
        """Return what is known of an application, ``None`` if there is none of that id."""

    @abc.abstractmethod
    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return the applications of this backend; *cfg* may say where to look."""

    def exists(self, app_id: str) -> bool:
        """Tell whether there is an application of that id."""
        return self.describe(app_id) is not None

    def cancel(self, app_id: str) -> None:
        """Ask an application to end, without waiting for it. Nothing happens if there is none."""
        if self.exists(app_id):
            self._cancel_existing(app_id)

    @abc.abstractmethod
    def _cancel_existing(self, app_id: str) -> None:
        """Ask an application that exists to end."""

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

        A line that a process has not ended yet may come in pieces, so print them with ``end=""``.

        Args:
            app_id: an application that exists.
            role_name: the role.
            k: number of the replica within it.
            regex: return only lines in which it is found.
            since: return only lines written since then; a naive time is local time.
            until: return only lines written until then.
            should_tail: go on until the application has ended.
            streams: which output; ``None`` is the scheduler's default.

        Raises:
            UsageError: the scheduler has no logs, or not this stream.
        """
        raise UsageError(f"the scheduler {self.backend!r} has no logs to show")

    def _pre_build_validate(self, app: AppDef, scheduler: str, cfg: T) -> None:
        """Check *app* before its workspaces are built or planned."""

    def _validate(self, app: AppDef, scheduler: str, cfg: T) -> None:
        """Check *app* when its images are known; by default every role must say what it needs."""
        for role in app.roles:
            if role.resource == NULL_RESOURCE:
                raise InvalidApp(
                    f"role {role.name!r} has no resource, and {scheduler} needs one",
                    hint="add resource=Resource(cpu=..., gpu=..., memMB=...), or --cpu and --memMB",
                )
