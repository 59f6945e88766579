"""Run applications in containers of this machine's engine (``local_docker``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from topcoat.engines.engine import engine_errors
from topcoat.errors import DaemonError, TopcoatError, UsageError
from topcoat.schedulers.api import (
    DescribeAppResponse,
    Freeable,
    ListAppResponse,
    ReplicaTimes,
    Scheduler,
    Stream,
    StructuredOpts,
)
from topcoat.schedulers.docker import containers as docker
from topcoat.schedulers.docker import replicas
from topcoat.schedulers.docker.request import (
    APP_ID,
    APP_NAME,
    REPLICA,
    ROLE,
    DockerContainer,
    DockerJob,
    app_state,
    container_state,
    make_job,
    option_variables,
    why_failed,
)
from topcoat.schedulers.docker.roles import published_ports, role_of
from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.image_entrypoint import (
    KEEP_OR_REPLACE,
    add_image_entrypoint,
    check_entrypoint,
    keeps_entrypoint,
)
from topcoat.schedulers.logs import decode, filter_regex
from topcoat.schedulers.terminal import check_one_replica
from topcoat.specs import (
    NONE,
    AppDef,
    AppDryRunInfo,
    AppState,
    CfgVal,
    ReplicaStatus,
    Role,
    RoleStatus,
    is_terminal,
    runopts,
)
from topcoat.specs.default_image import check_role_images
from topcoat.tasks import run_all
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin
from topcoat.workspace.hooks import RunsFrom

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

__all__ = ["DockerContainer", "DockerJob", "DockerScheduler", "Opts", "create_scheduler", "has_docker"]


@dataclass
class Opts(StructuredOpts):
    """The run options of ``local_docker``, besides those of its workspace."""

    copy_env: list[str] | None = None
    """environment variables to copy into the containers, as patterns: FOO_*"""

    env: dict[str, str] | None = None
    """environment variables for the containers; they override the roles'"""

    privileged: bool = False
    """run the containers with docker's --privileged"""


class DockerScheduler(DockerWorkspaceMixin, Scheduler[Mapping[str, CfgVal]]):
    """Run every replica as a container; containers are kept until they are deleted.

    Replicas reach each other by their containers' names on the bridge network ``topcoat``. A replica is restarted
    alone, regardless of the retry policy: Docker has no gang restart.
    """

    poll_interval: ClassVar[float] = 1.0
    runs_from: ClassVar[RunsFrom | None] = RunsFrom.ENGINE

    def __init__(self, session_name: str, docker_client: DockerClient | None = None) -> None:
        super().__init__("local_docker", session_name, docker_client=docker_client)
        self._terminals: dict[str, Any] = {}

    def close(self) -> None:
        """Close the connection to the engine, unless the caller passed it in."""
        self.close_connections()

    def _run_opts(self) -> runopts:
        opts = Opts.as_runopts()
        add_image_entrypoint(opts, KEEP_OR_REPLACE)
        return opts

    def _pre_build_validate(self, app: AppDef, scheduler: str, cfg: Mapping[str, CfgVal]) -> None:
        """Refuse invalid options and a role without an image before anything is looked up or built."""
        keeps_entrypoint(cfg, KEEP_OR_REPLACE)
        check_role_images(app.roles)

    def _validate(self, app: AppDef, scheduler: str, cfg: Mapping[str, CfgVal]) -> None:
        """Accept roles without a resource: their containers have no limits."""

    def complete_cfg(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> Mapping[str, CfgVal]:
        """Move PYTHONPATH from the options to the roles: a workspace puts the code in front of it."""
        copied, own = option_variables(cfg, os.environ)
        for role in app.roles:
            path = own.get("PYTHONPATH") or role.env.get("PYTHONPATH") or copied.get("PYTHONPATH")
            if path:
                role.env["PYTHONPATH"] = path
        return {**cfg, "env": {name: value for name, value in own.items() if name != "PYTHONPATH"}} if own else cfg

    def new_app_id(self, app: AppDef) -> str:
        """Return a new id, made from the application's name."""
        return app_id_for(app.name)

    def _submit_dryrun(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> AppDryRunInfo[DockerJob]:
        return self._make_request(app, cfg, self.new_app_id(app))

    def _make_request(self, app: AppDef, cfg: Mapping[str, CfgVal], app_id: str) -> AppDryRunInfo[DockerJob]:
        job = make_job(
            app, cfg, backend=self.backend, session_name=self.session_name, app_id=app_id, environ=os.environ
        )
        return AppDryRunInfo(job, str)

    def schedule(self, dryrun_info: AppDryRunInfo[DockerJob]) -> str:
        """Create and start the containers; if one cannot be started, remove all of them.

        Raises:
            ImageNotFound: neither the engine nor a registry has an image.
            DaemonError: the engine reports an error.
        """
        job, client = dryrun_info.request, self._docker_client
        keep = not any("entrypoint" in container.kwargs for container in job.containers)
        for image in dict.fromkeys(container.image for container in job.containers):
            config = docker.fetch(client, image).attrs["Config"] or {}
            check_entrypoint(image, config.get("Entrypoint"), keep=keep)
        docker.ensure_network(client)
        with engine_errors("asking the container engine for the number of its CPUs"):
            cpus = int(client.info()["NCPU"])
        created: list[Container] = []
        try:
            for request in job.containers:
                created.append(docker.create(client, request, cpus))
            if job.containers and job.containers[0].kwargs.get("tty"):
                self._terminals[job.app_id] = replicas.open_terminal(created[0])
            run_all([partial(docker.start, container) for container in created])
        except BaseException:
            for container in created:
                with contextlib.suppress(DaemonError):
                    docker.remove(container)
            raise
        return job.app_id

    def _containers(self, *labels: str) -> list[Container]:
        client = self._docker_client
        with engine_errors("listing containers"):
            return client.containers.list(all=True, filters={"label": list(labels)}, ignore_removed=True)

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Return what the engine knows of the containers of an application."""
        containers = self._containers(f"{APP_ID}={app_id}")
        if not containers:
            return None
        containers.sort(key=_replica_id)
        roles: dict[str, Role] = {}
        statuses: dict[str, RoleStatus] = {}
        failures, errors = [], []
        for container in containers:
            (role, replica_id), attrs = _replica_id(container), container.attrs
            state, error = container_state(attrs), NONE
            if state is AppState.FAILED:
                failures.append((attrs["State"].get("FinishedAt", ""), f"{role}/{replica_id} {why_failed(attrs)}"))
                error = docker.error_file(container) or NONE
                errors.append(error)
            roles.setdefault(role, role_of(role, attrs)).num_replicas += 1
            statuses.setdefault(role, RoleStatus(role, [])).replicas.append(
                ReplicaStatus(replica_id, state, role, str(container.name), error)
            )
        return DescribeAppResponse(
            app_id=app_id,
            state=app_state(container_state(container.attrs) for container in containers),
            num_restarts=sum(container.attrs.get("RestartCount", 0) for container in containers),
            msg=min(failures)[1] if failures else "",
            structured_error_msg=next((error for error in errors if error != NONE), NONE),
            roles_statuses=list(statuses.values()),
            roles=list(roles.values()),
            metadata=published_ports((_replica_id(container), container.attrs) for container in containers),
        )

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return the applications that have containers, the newest first."""
        apps: dict[str, list[Container]] = {}
        for container in self._containers(APP_ID):
            apps.setdefault(container.labels[APP_ID], []).append(container)
        return [
            ListAppResponse(
                app_id,
                app_state(container_state(container.attrs) for container in containers),
                name=containers[0].labels[APP_NAME],
                created=min(docker.created(container) for container in containers),
                ended=docker.ended(containers),
            )
            for app_id, containers in apps.items()
        ]

    def _cancel_existing(self, app_id: str) -> None:
        containers = self._containers(f"{APP_ID}={app_id}")
        running = [container for container in containers if not is_terminal(container_state(container.attrs))]
        run_all([partial(docker.stop, container) for container in running], max_at_once=max(len(running), 1))

    def _delete_existing(self, app_id: str) -> None:
        run_all([partial(docker.remove, container) for container in self._containers(f"{APP_ID}={app_id}")])

    def make_interactive(self, dryrun_info: AppDryRunInfo[DockerJob]) -> None:
        """Give the one container a terminal."""
        containers = dryrun_info.request.containers
        check_one_replica(len(containers))
        containers[0].kwargs.update(tty=True, stdin_open=True)

    def attach(self, app_id: str, role: str, replica: int) -> None:
        """Connect the user's terminal to a container that has one (``topcoat run -i``)."""
        container = self._container(app_id, role, replica)
        if not container.attrs["Config"]["Tty"]:
            raise UsageError(
                f"the container {container.name} has no terminal",
                hint=f"topcoat log -f {app_id}; topcoat run -i starts one that has",
            )
        replicas.attach(container, self._terminals.pop(app_id, None) or replicas.open_terminal(container))

    def execute(self, app_id: str, role: str, replica: int, command: Sequence[str], *, tty: bool = False) -> int:
        """Run a command in a running container."""
        return replicas.execute(self._container(app_id, role, replica), command, tty=tty)

    def copy_from(self, app_id: str, role: str, replica: int, path: str, destination: str | os.PathLike[str]) -> None:
        """Copy a file or directory of a container, also of one that has ended."""
        replicas.copy_from(self._container(app_id, role, replica), path, destination)

    def copy_to(self, app_id: str, role: str, replica: int, source: str | os.PathLike[str], path: str) -> None:
        """Copy a file or directory into a container."""
        replicas.copy_to(self._container(app_id, role, replica), source, path)

    def replica_times(self, app_id: str) -> Sequence[ReplicaTimes]:
        """Return what the engine knows of the containers."""
        containers = sorted(self._containers(f"{APP_ID}={app_id}"), key=_replica_id)
        found = [(*_replica_id(container), docker.times(container)) for container in containers]
        return [ReplicaTimes(role, number, *times) for role, number, times in found]

    def freeable(self) -> Sequence[Freeable]:
        """Return the images that topcoat loaded and that no container uses."""
        return docker.unused_images(self._docker_client)

    def free(self, item: Freeable) -> None:
        """Remove an image."""
        docker.remove_image(self._docker_client, item.id)

    def _container(self, app_id: str, role: str, replica: int) -> Container:
        containers = {_replica_id(container): container for container in self._containers(f"{APP_ID}={app_id}")}
        if (role, replica) not in containers:
            raise self._no_replica(app_id, role, replica, containers)
        return containers[role, replica]

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
        """Return the log lines of one container, by default of both outputs together."""
        container = self._container(app_id, role_name, k)
        stream = Stream.COMBINED if streams is None else Stream(streams)
        options: dict[str, Any] = {
            "stdout": stream is not Stream.STDERR,
            "stderr": stream is not Stream.STDOUT,
            "since": since.timestamp() if since else None,
            "until": until.timestamp() if until else None,
        }
        log = docker.read_log(container, options, follow=should_tail)
        lines = decode(log, whole=regex is not None)
        return lines if regex is None else filter_regex(regex, lines)


def _replica_id(container: Container) -> tuple[str, int]:
    return container.labels[ROLE], int(container.labels[REPLICA])


def create_scheduler(session_name: str, docker_client: DockerClient | None = None, **kwargs: object) -> DockerScheduler:
    """Return the scheduler ``local_docker``, for *docker_client* or the engine that the docker CLI would use."""
    return DockerScheduler(session_name, docker_client)


def has_docker() -> bool:
    """Tell whether the engine that the docker CLI would use can be reached."""
    scheduler = create_scheduler("")
    try:
        with engine_errors("looking for a container engine"):
            scheduler._docker_client.ping()
    except TopcoatError:
        return False
    finally:
        scheduler.close()
    return True
