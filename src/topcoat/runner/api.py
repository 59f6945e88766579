"""Submit applications to any scheduler, and manage them by their handles."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from inspect import signature
from types import TracebackType
from typing import Any, Literal, overload

from topcoat.errors import UnknownApp, UsageError
from topcoat.notices import notices_once
from topcoat.runner import journal
from topcoat.runner.dry_run import Submission, dry_run
from topcoat.runner.prebuild import prebuild
from topcoat.scan.retry import retry_if_changed
from topcoat.schedulers import SchedulerFactory, get_scheduler_factories, unknown_scheduler
from topcoat.schedulers.api import Freeable, JobOutputs, ListAppResponse, ReplicaTimes, Scheduler, Stream
from topcoat.specs import (
    AppDef,
    AppDryRunInfo,
    AppHandle,
    AppStatus,
    CfgVal,
    Role,
    Workspace,
    make_app_handle,
    materialize_appdef,
    parse_app_handle,
    runopts,
)
from topcoat.workspace.plan import apply_images

SESSION = "topcoat"
_PARAM_PREFIX = "torchx_"


class Runner:
    """Submit applications and manage them; a context manager that closes its schedulers, not their jobs.

    Args:
        name: session name, the middle part of the handles.
        scheduler_factories: the factory of each scheduler, by name; by default all installed ones.
        component_defaults: component to parameter to default value, as text.
        scheduler_params: keyword arguments for every factory. ``TORCHX_X=v`` in the environment adds ``x="v"``.
    """

    def __init__(
        self,
        name: str = "",
        scheduler_factories: Mapping[str, SchedulerFactory] | None = None,
        component_defaults: Mapping[str, Mapping[str, str]] | None = None,
        scheduler_params: Mapping[str, object] | None = None,
    ) -> None:
        self._name = name
        self._factories = get_scheduler_factories() if scheduler_factories is None else dict(scheduler_factories)
        self._component_defaults = component_defaults or {}
        self._params = {**_params_from_env(), **(scheduler_params or {})}
        self._schedulers: dict[str, Scheduler[Any]] = {}
        self._apps: dict[AppHandle, AppDef] = {}

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every scheduler that was used; their jobs go on. May be called more than once."""
        for scheduler in self._schedulers.values():
            scheduler.close()

    def name(self) -> str:
        """Return the session name."""
        return self._name

    def run_component(
        self,
        component: str,
        component_args: list[str] | dict[str, Any],
        scheduler: str,
        cfg: Mapping[str, CfgVal] | None = None,
        workspace: Workspace | str | None = None,
        parent_run_id: str | None = None,
    ) -> AppHandle:
        """Run the application that a component returns for *component_args*.

        Args:
            component: an installed one, a built-in one (``dist.ddp``) or ``path/to/file.py:function``.
            component_args: command-line words, or values by parameter name.
            scheduler: see ``run`` for this and the other arguments.
        """
        app = self._make_app(component, component_args)
        return self.run(app, scheduler, cfg, workspace, parent_run_id)

    def dryrun_component(
        self,
        component: str,
        component_args: list[str] | dict[str, Any],
        scheduler: str,
        cfg: Mapping[str, CfgVal] | None = None,
        workspace: Workspace | str | None = None,
        parent_run_id: str | None = None,
    ) -> AppDryRunInfo[Any]:
        """Return what ``run_component`` would submit."""
        app = self._make_app(component, component_args)
        return self.dryrun(app, scheduler, cfg, workspace, parent_run_id)

    def _make_app(self, component: str, component_args: list[str] | dict[str, Any]) -> AppDef:
        from topcoat.components.finder import get_component

        return materialize_appdef(get_component(component).fn, component_args, self._component_defaults.get(component))

    @overload
    def run(
        self,
        app: AppDef,
        scheduler: str,
        cfg: Mapping[str, CfgVal] | None = ...,
        workspace: Workspace | str | None = ...,
        parent_run_id: str | None = ...,
        *,
        dryrun: Literal[True],
    ) -> AppDryRunInfo[Any]: ...

    @overload
    def run(
        self,
        app: AppDef,
        scheduler: str,
        cfg: Mapping[str, CfgVal] | None = ...,
        workspace: Workspace | str | None = ...,
        parent_run_id: str | None = ...,
        *,
        dryrun: Literal[False] = ...,
    ) -> AppHandle: ...

    def run(
        self,
        app: AppDef,
        scheduler: str,
        cfg: Mapping[str, CfgVal] | None = None,
        workspace: Workspace | str | None = None,
        parent_run_id: str | None = None,
        *,
        dryrun: bool = False,
    ) -> AppHandle | AppDryRunInfo[Any]:
        """Submit *app* and return its handle; with *dryrun*, return what would be submitted.

        *app* itself is not changed. If files of the workspace change meanwhile, it is scanned and packed again.

        Args:
            app: the application.
            scheduler: name of the scheduler.
            cfg: run options.
            workspace: local code for the first role; it replaces the role's own.
            parent_run_id: for experiment trackers, as ``TORCHX_PARENT_RUN_ID``.
            dryrun: submit nothing.

        Raises:
            InvalidApp: the application cannot run anywhere as declared.
            WorkspaceChanged: files kept changing.
        """

        def attempt() -> AppHandle | AppDryRunInfo[Any]:
            info = self.dryrun(app, scheduler, cfg, workspace, parent_run_id)
            return info if dryrun else self.schedule(info)

        with notices_once():
            return retry_if_changed(attempt)

    def dryrun(
        self,
        app: AppDef,
        scheduler: str,
        cfg: Mapping[str, CfgVal] | None = None,
        workspace: Workspace | str | None = None,
        parent_run_id: str | None = None,
    ) -> AppDryRunInfo[Any]:
        """Return what would be submitted; ``print`` shows it, ``schedule`` submits it.

        Nothing is built, copied or sent, except by a third-party workspace mixin that cannot plan: that one builds
        now. ``info.app`` is a changed copy of *app*. See ``run`` for the arguments.
        """
        submission = Submission(scheduler, self._name, cfg or {}, workspace, parent_run_id)
        return dry_run(self._scheduler(scheduler), app, submission)

    def schedule(self, dryrun_info: AppDryRunInfo[Any]) -> AppHandle:
        """Submit the request of a dry run, which may have been changed, and return the application's handle.

        Raises:
            WorkspaceChanged: files of the workspace have changed since the dry run.
        """
        scheduler, app = dryrun_info.scheduler, dryrun_info.app
        if scheduler is None or app is None:
            raise UsageError("the dry-run info was not created by Runner.dryrun: no scheduler recorded")
        sched = self._scheduler(scheduler)
        try:
            delivered = dryrun_info.deliver()
        except BaseException:
            sched.abandon(dryrun_info)
            raise
        if delivered:
            apply_images(app.roles, delivered)
            sched.update_request(dryrun_info, delivered)
        handle = make_app_handle(scheduler, self._name, sched.schedule(dryrun_info))
        self._apps[handle] = app
        journal.record(handle, app)
        return handle

    @overload
    def build_workspace(
        self, app_or_role: Role, scheduler: str, cfg: Mapping[str, CfgVal] | None = None
    ) -> str | None: ...

    @overload
    def build_workspace(
        self, app_or_role: AppDef, scheduler: str, cfg: Mapping[str, CfgVal] | None = None
    ) -> dict[tuple[str, Workspace], str]: ...

    def build_workspace(
        self, app_or_role: AppDef | Role, scheduler: str, cfg: Mapping[str, CfgVal] | None = None
    ) -> dict[tuple[str, Workspace], str] | str | None:
        """Build workspaces now and return their images, for many runs; *app_or_role* is not changed.

        For a role, return its image, ``None`` if it has no workspace. For an application, return ``{(image, workspace):
        built image}`` for ``pin_workspace_images``, without roles of which the build changes more than the image.
        """
        return prebuild(self._scheduler(scheduler), app_or_role, cfg or {})

    def scheduler_backends(self) -> list[str]:
        """Return the names of all schedulers."""
        return [*self._factories]

    def scheduler_uses_workspace(self, scheduler: str) -> bool:
        """Tell whether a scheduler can deliver workspaces."""
        return self._scheduler(scheduler).uses_workspace

    def follows_pending(self, app_handle: AppHandle) -> bool:
        """Tell whether ``log_lines`` can follow a log before the application runs."""
        return self._find(app_handle)[0].follows_pending

    def scheduler_run_opts(self, scheduler: str) -> runopts:
        """Return the run options of a scheduler."""
        return self._scheduler(scheduler).run_opts()

    def cfg_from_str(self, scheduler: str, *cfg_literal: str) -> Mapping[str, CfgVal]:
        """Parse ``key=value,...`` texts into options of *scheduler*; later ones override earlier ones."""
        opts = self.scheduler_run_opts(scheduler)
        cfg: dict[str, CfgVal] = {}
        for text in cfg_literal:
            cfg.update(opts.cfg_from_str(text))
        return cfg

    def status(self, app_handle: AppHandle, *, patient: bool = False) -> AppStatus | None:
        """Return the status of an application, ``None`` if its scheduler does not know it.

        With *patient*, for somebody who waits, the scheduler may be silent for a while.
        """
        sched, app_id = self._find(app_handle)
        response = sched.describe_patiently(app_id) if patient else sched.describe(app_id)
        if response is None:
            self._apps.pop(app_handle, None)
            return None
        return AppStatus(
            response.state,
            response.num_restarts,
            msg=response.msg,
            structured_error_msg=response.structured_error_msg,
            ui_url=response.ui_url,
            roles=response.roles_statuses,
        )

    def wait(self, app_handle: AppHandle, wait_interval: float = 10) -> AppStatus | None:
        """Wait until an application has ended and return its status, ``None`` if its scheduler does not know it.

        The pause between two status requests grows up to *wait_interval* seconds, or ``Scheduler.poll_interval``. Once
        the scheduler knows the application, it may be silent for some time (``Scheduler.describe_patiently``).
        """
        sched, _ = self._find(app_handle)
        max_pause = min(wait_interval, sched.poll_interval)
        pause = 0.05
        status = self.status(app_handle, patient=app_handle in self._apps)
        while status is not None and not status.is_terminal():
            time.sleep(min(pause, max_pause))
            pause *= 1.5
            status = self.status(app_handle, patient=True)
        return status

    def cancel(self, app_handle: AppHandle) -> None:
        """Ask an application to end, without waiting for it; do nothing if it has ended or is unknown."""
        sched, app_id = self._find(app_handle)
        status = self.status(app_handle)
        if status is not None and not status.is_terminal():
            sched.cancel(app_id)

    def delete(self, app_handle: AppHandle) -> None:
        """Remove an application from its scheduler; cancel it first if it runs. Do nothing if it is unknown."""
        sched, app_id = self._find(app_handle)
        sched.delete(app_id)
        self._apps.pop(app_handle, None)
        journal.forget(app_handle)

    def outputs(self, app_handle: AppHandle) -> JobOutputs | None:
        """Return which files an application wrote into its job directory (``Scheduler.outputs``)."""
        sched, app_id = self._find(app_handle)
        return sched.outputs(app_id)

    def replica_times(self, app_handle: AppHandle) -> Sequence[ReplicaTimes]:
        """Return when each replica started and ended, and its exit code (``Scheduler.replica_times``)."""
        sched, app_id = self._find_existing(app_handle)
        return sched.replica_times(app_id)

    def copy_from(
        self, app_handle: AppHandle, role: str, replica: int, path: str, destination: str | os.PathLike[str]
    ) -> None:
        """Copy a file or directory of a replica to this machine (``Scheduler.copy_from``)."""
        sched, app_id = self._find_existing(app_handle)
        sched.copy_from(app_id, role, replica, path, destination)

    def copy_to(
        self, app_handle: AppHandle, role: str, replica: int, source: str | os.PathLike[str], path: str
    ) -> None:
        """Copy a local file or directory into a replica (``Scheduler.copy_to``)."""
        sched, app_id = self._find_existing(app_handle)
        sched.copy_to(app_id, role, replica, source, path)

    def execute(
        self, app_handle: AppHandle, role: str, replica: int, command: Sequence[str], *, tty: bool = False
    ) -> int:
        """Run *command* in a running replica and return its exit code (``Scheduler.execute``)."""
        sched, app_id = self._find_existing(app_handle)
        return sched.execute(app_id, role, replica, command, tty=tty)

    def attach(self, app_handle: AppHandle, role: str, replica: int) -> None:
        """Connect this terminal to the process of a running replica (``Scheduler.attach``)."""
        sched, app_id = self._find_existing(app_handle)
        sched.attach(app_id, role, replica)

    def make_interactive(self, dryrun_info: AppDryRunInfo[Any]) -> None:
        """Change the request so that ``attach`` can connect a terminal (``Scheduler.make_interactive``)."""
        if dryrun_info.scheduler is None:
            raise UsageError("the dry-run info was not created by Runner.dryrun: no scheduler recorded")
        self._scheduler(dryrun_info.scheduler).make_interactive(dryrun_info)

    def freeable(self, scheduler: str, cfg: Mapping[str, CfgVal] | None = None) -> Sequence[Freeable]:
        """Return what a scheduler keeps and no longer needs; *cfg* may say where to look (``Scheduler.freeable``)."""
        sched = self._scheduler(scheduler)
        # Most schedulers have one place only.
        freeable: Callable[..., Sequence[Freeable]] = sched.freeable
        return freeable(cfg) if signature(freeable).parameters else freeable()

    def free(self, scheduler: str, item: Freeable) -> None:
        """Remove an item of ``freeable``."""
        self._scheduler(scheduler).free(item)

    def stop(self, app_handle: AppHandle) -> None:
        """Call ``cancel``. Deprecated."""
        import warnings

        warnings.warn("Runner.stop is deprecated: use Runner.cancel", PendingDeprecationWarning, stacklevel=2)
        self.cancel(app_handle)

    def describe(self, app_handle: AppHandle) -> AppDef | None:
        """Return what the scheduler knows of the application's definition, ``None`` if it does not know it."""
        if app_handle in self._apps:
            return self._apps[app_handle]
        sched, app_id = self._find(app_handle)
        response = sched.describe(app_id)
        return None if response is None else AppDef(app_id, response.roles, response.metadata)

    def list(self, scheduler: str, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return the applications of a scheduler; *cfg* may say where to look."""
        # In TorchX 0.7 the method of a scheduler takes no options.
        sched = self._scheduler(scheduler)
        apps = sched.list(cfg) if signature(sched.list).parameters else sched.list()
        for app in apps:
            app.app_handle = make_app_handle(scheduler, self._name, app.app_id)
        return apps

    def log_lines(
        self,
        app_handle: AppHandle,
        role_name: str,
        k: int = 0,
        regex: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        should_tail: bool = False,
        streams: Stream | None = None,
    ) -> Iterable[str]:
        """Return the log lines of replica *k* of a role; print them with ``end=""`` (``Scheduler.log_iter``).

        Raises:
            UnknownApp: the scheduler does not know the application.
        """
        sched, app_id = self._find_existing(app_handle)
        return sched.log_iter(app_id, role_name, k, regex, since, until, should_tail, streams=streams)

    def _find(self, app_handle: AppHandle) -> tuple[Scheduler[Any], str]:
        parsed = parse_app_handle(app_handle)
        return self._scheduler(parsed.scheduler_backend), parsed.app_id

    def _find_existing(self, app_handle: AppHandle) -> tuple[Scheduler[Any], str]:
        sched, app_id = self._find(app_handle)
        if not sched.exists(app_id):
            raise UnknownApp(f"unknown application {app_handle}", hint=f"topcoat list -s {sched.backend}")
        return sched, app_id

    def _scheduler(self, name: str) -> Scheduler[Any]:
        if name not in self._schedulers:
            if name not in self._factories:
                raise unknown_scheduler(name, self._factories)
            self._schedulers[name] = self._factories[name](self._name, **self._params)
        return self._schedulers[name]

    def __repr__(self) -> str:
        return f"Runner(name={self._name!r}, schedulers={self.scheduler_backends()})"


def get_runner(
    name: str | None = None,
    component_defaults: Mapping[str, Mapping[str, str]] | None = None,
    **scheduler_params: object,
) -> Runner:
    """Return a runner with all installed schedulers, by default in the session ``topcoat``."""
    return Runner(name or SESSION, None, component_defaults, scheduler_params)


def _params_from_env() -> dict[str, object]:
    return {
        key.lower().removeprefix(_PARAM_PREFIX): value
        for key, value in os.environ.items()
        if key.lower().startswith(_PARAM_PREFIX) and key.lower() != f"{_PARAM_PREFIX}session_name"
    }
