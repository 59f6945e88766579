"""Run applications on a Kubernetes cluster (``kubernetes``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from topcoat.errors import (
    InvalidApp,
    InvalidRunConfigException,
    MissingDependency,
    RequestRefused,
    SchedulerUnavailable,
    TopcoatError,
)
from topcoat.notices import notice
from topcoat.schedulers.api import DescribeAppResponse, ListAppResponse, Scheduler
from topcoat.schedulers.image_entrypoint import add_image_entrypoint, check_entrypoint, keeps_entrypoint
from topcoat.schedulers.kubernetes.abilities import ReplicaAbilities
from topcoat.schedulers.kubernetes.arrangement import Arrangement, arrange
from topcoat.schedulers.kubernetes.clusters import OPTIONS, Named, forget, recall, remember
from topcoat.schedulers.kubernetes.labels import CONTAINER, LABEL_APP, app_id, new_name, split_app_id
from topcoat.schedulers.kubernetes.options import (
    REPLACE_OR_KEEP,
    KubernetesOpts,
    Opts,
    check_options,
    read_overlay,
)
from topcoat.schedulers.kubernetes.pod import role_to_pod
from topcoat.schedulers.kubernetes.request import KubernetesJob, make_job, set_app_def, set_images
from topcoat.schedulers.kubernetes.template import Submission, read_files, selected_nodes
from topcoat.specs import AppDef, AppDryRunInfo, CfgVal, Role, runopts
from topcoat.specs.default_image import check_image
from topcoat.specs.delivery import Delivered
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin
from topcoat.workspace.hooks import RunsFrom

if TYPE_CHECKING:
    from docker import DockerClient
    from kubernetes.client import ApiClient

    from topcoat.schedulers.kubernetes.client import Client

__all__ = ["KubernetesJob", "KubernetesOpts", "KubernetesScheduler", "create_scheduler"]

_ARCHITECTURE = ("kubernetes.io/arch", "beta.kubernetes.io/arch")
_OS = ("kubernetes.io/os", "beta.kubernetes.io/os")


class CheckedDryRunInfo(AppDryRunInfo[KubernetesJob]):
    """A request that the cluster checks before an image is pushed for it.

    Attributes:
        is_checked: whether that was done.
    """

    def __init__(self, request: KubernetesJob, check: Callable[[KubernetesJob, Mapping[str, CfgVal]], None]) -> None:
        super().__init__(request, str)
        self.is_checked = False
        self._check = check

    def deliver(self) -> Mapping[str, Delivered]:
        """Have the cluster check the request, then deliver the workspaces."""
        self._check(self.request, self.cfg)
        self.is_checked = True
        return super().deliver()


class KubernetesScheduler(DockerWorkspaceMixin, ReplicaAbilities[Opts], Scheduler[Opts]):
    """Run every role as an Indexed Job, or all of them as a JobSet or a Job of Volcano.

    Replicas find each other by their host names in a headless Service. The id of an application is ``namespace:name``.
    """

    poll_interval: ClassVar[float] = 1.0
    runs_from: ClassVar[RunsFrom | None] = RunsFrom.REGISTRY

    def __init__(
        self,
        session_name: str,
        client: ApiClient | None = None,
        docker_client: DockerClient | None = None,
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> None:
        """Connect with *client*, of the official library, or to the cluster that kubectl would use.

        *kubeconfig* and *context* are for applications that another process has submitted.
        """
        super().__init__("kubernetes", session_name, docker_client=docker_client)
        self._api_client = client
        self._default = Named(kubeconfig, context)
        self._clients: dict[Named, Client] = {}
        self._submitted_to: dict[str, Client] = {}

    def close(self) -> None:
        """Close the connections to clusters and to the container engine."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._submitted_to.clear()
        self.close_connections()

    def _client(self, cfg: Mapping[str, CfgVal] | None = None, app_id: str = "") -> Client:
        """Return the client of the cluster that *cfg* names, or that an application was submitted to."""
        if app_id in self._submitted_to:
            return self._submitted_to[app_id]
        named = recall(app_id) if app_id else _named(cfg or {})
        key = Named(named.kubeconfig or self._default.kubeconfig, named.context or self._default.context)
        if key not in self._clients:
            from topcoat.schedulers.kubernetes.client import Client, connect

            if self._api_client is not None:
                from topcoat.schedulers.kubernetes.config import Cluster

                self._clients[key] = Client(Cluster(self._api_client.configuration, "", "default"))
            else:
                self._clients[key] = connect(*key)
        return self._clients[key]

    def _run_opts(self) -> runopts:
        opts = Opts.as_runopts()
        add_image_entrypoint(opts, REPLACE_OR_KEEP)
        return opts

    def _pre_build_validate(self, app: AppDef, scheduler: str, cfg: Opts) -> None:
        """Refuse what the cluster would refuse, before a file is read or a host is contacted."""
        check_options(cfg)
        for role in app.roles:
            role_to_pod(CONTAINER, role)
            if role.workspace:
                continue  # a Dockerfile.torchx may not need an image
            if not role.image:
                raise InvalidApp(
                    f"the role {role.name} has no image to run in a container",
                    hint="--image IMAGE; components also take it from TOPCOAT_IMAGE",
                )
            check_image(role.image)

    def _validate(self, app: AppDef, scheduler: str, cfg: Opts) -> None:
        """Accept roles without a resource: their pods have no requests and no limits."""

    def role_platform(self, role: Role, cfg: Mapping[str, CfgVal]) -> str:
        """Return the platform of the nodes that *role* selects; empty if it selects none by architecture."""
        selector = selected_nodes(role, cfg, read_overlay(Opts.from_cfg(cfg)))
        architecture = next((selector[key] for key in _ARCHITECTURE if selector.get(key)), None)
        os = next((selector[key] for key in _OS if selector.get(key)), "linux")
        return f"{os}/{architecture}" if architecture else ""

    def new_app_id(self, app: AppDef) -> str:
        """Return a new name for the objects of *app*; the id that users see has the namespace before it."""
        return new_name(app.name)

    def _submit_dryrun(self, app: AppDef, cfg: Opts) -> AppDryRunInfo[KubernetesJob]:
        return self._make_request(app, cfg, self.new_app_id(app))

    def _make_request(self, app: AppDef, cfg: Opts, app_id: str) -> AppDryRunInfo[KubernetesJob]:
        images_to_push = self.dryrun_push_images(app, cfg)
        arrangement = self._arrange(app, cfg)
        if arrangement.note:
            notice(arrangement.note)
        submission = Submission(app, cfg, app_id, self._namespace(cfg), self.backend, self.session_name)
        request = make_job(read_files(submission), arrangement, images_to_push)
        if cfg.validate_spec:
            self._check(request, cfg)
        return CheckedDryRunInfo(request, self._check)

    def _namespace(self, cfg: Opts) -> str:
        if cfg.namespace:
            return cfg.namespace
        try:
            return self._client(cfg).namespace
        except TopcoatError as error:
            if not _is_no_cluster(error, cfg):
                raise
            return "default"

    def _arrange(self, app: AppDef, cfg: Opts) -> Arrangement:
        try:
            return arrange(app, cfg, lambda kind: self._client(cfg).serves(kind))
        except TopcoatError as error:
            if not _is_no_cluster(error, cfg):
                raise
            return arrange(app, cfg, None)

    def _check(self, request: KubernetesJob, cfg: Mapping[str, CfgVal]) -> None:
        """Ask the cluster whether it would accept *request*, or only whether it responds."""
        from topcoat.schedulers.kubernetes.kinds import JOB
        from topcoat.schedulers.kubernetes.submit import validate

        if cfg.get("validate_spec") is False:
            self._client(cfg).serves(JOB)
        else:
            validate(self._client(cfg), request)

    def update_request(self, dryrun_info: AppDryRunInfo[KubernetesJob], delivered: Mapping[str, Delivered]) -> None:
        """Put the digests of the images into the request."""
        plan, app = dryrun_info.workspace_plan, dryrun_info.app
        if plan is None or app is None:
            return
        planned = plan.expected()
        keep = keeps_entrypoint(dryrun_info.cfg, REPLACE_OR_KEEP)
        for result in delivered.values():
            check_entrypoint(result.image, result.entrypoint, keep=keep)
        set_images(
            dryrun_info.request,
            {role: (planned[role].image, result.image) for role, result in delivered.items() if result.image},
        )
        set_app_def(dryrun_info.request, app)

    def schedule(self, dryrun_info: AppDryRunInfo[KubernetesJob]) -> str:
        """Create the objects; if one is refused, remove all of them.

        Raises:
            RequestRefused: the cluster refuses an object.
            SchedulerUnavailable: the cluster does not respond.
        """
        from topcoat.schedulers.kubernetes.submit import submit

        request, cfg = dryrun_info.request, dryrun_info.cfg
        self.push_images(request.images_to_push)
        client = self._client(cfg)
        if not (isinstance(dryrun_info, CheckedDryRunInfo) and dryrun_info.is_checked):
            self._check(request, cfg)
        submit(client, request)
        metadata = request.resource["metadata"]
        name = (metadata.get("labels") or {}).get(LABEL_APP) or metadata["name"]
        submitted = app_id(metadata.get("namespace") or client.namespace, name)
        self._submitted_to[submitted] = client
        remember(submitted, _named(cfg))
        return submitted

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Return what the cluster has of an application."""
        from topcoat.schedulers.kubernetes.observe import fetch
        from topcoat.schedulers.kubernetes.read_back import read_app
        from topcoat.schedulers.kubernetes.status import summarize

        objects = fetch(self._client(None, app_id), *split_app_id(app_id))
        if objects is None:
            return None
        app = read_app(objects.owners)
        summary = summarize(objects, [role.name for role in app.roles])
        return DescribeAppResponse(
            app_id=app_id,
            roles=app.roles,
            metadata=app.metadata,
            **summary._asdict(),
        )

    def describe_native(self, app_id: str) -> AppDryRunInfo[KubernetesJob] | None:
        """Return the objects of an application as the cluster has them (TorchX's name)."""
        from topcoat.schedulers.kubernetes.submit import read_objects

        objects = read_objects(self._client(None, app_id), *split_app_id(app_id))
        return AppDryRunInfo(KubernetesJob({}, objects[0], objects[1:]), str) if objects else None

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """Return the applications of a namespace, by default of all, the newest first."""
        from topcoat.schedulers.kubernetes.read_back import list_apps

        client = self._client(cfg)
        namespace = (cfg or {}).get("namespace")
        if namespace:
            return list_apps(client, str(namespace))
        try:
            return list_apps(client, None)
        except RequestRefused as error:
            if error.status != 403:
                raise
            notice(f"this login may not list jobs in all namespaces: showing those of {client.namespace}")
            return list_apps(client, client.namespace)

    def _cancel_existing(self, app_id: str) -> None:
        from topcoat.schedulers.kubernetes.submit import cancel

        notice("the cluster deletes the pods of a cancelled job, and their logs with them")
        cancel(self._client(None, app_id), *split_app_id(app_id))

    def delete(self, app_id: str) -> None:
        """Delete all objects of an application, also what is left of an incomplete one."""
        from topcoat.schedulers.kubernetes.submit import delete

        delete(self._client(None, app_id), *split_app_id(app_id))
        self._submitted_to.pop(app_id, None)
        forget(app_id)


def _is_no_cluster(error: TopcoatError, cfg: Opts) -> bool:
    """Tell whether no cluster is configured or responds: a dry run does without. A named one has to exist."""
    if isinstance(error, InvalidRunConfigException):
        return error.cfg_key == "context" and not cfg.context
    return isinstance(error, (MissingDependency, SchedulerUnavailable))


def _named(cfg: Mapping[str, CfgVal]) -> Named:
    values = [cfg.get(name) for name in OPTIONS]
    return Named(*(str(value) if value else None for value in values))


def create_scheduler(
    session_name: str,
    client: ApiClient | None = None,
    docker_client: DockerClient | None = None,
    kubeconfig: str | None = None,
    context: str | None = None,
    **kwargs: object,
) -> KubernetesScheduler:
    """Return the scheduler ``kubernetes``."""
    return KubernetesScheduler(session_name, client, docker_client, kubeconfig, context)
