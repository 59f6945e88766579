"""Workspaces as container images (TorchX's ``torchx.workspace.docker_workspace``)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, ClassVar

from topcoat.bases.base import ALL_PLATFORMS
from topcoat.builders.builder import Builder, find_builder
from topcoat.destinations.docker import DockerDestination, push_image
from topcoat.destinations.push_records import context_of, until_settled
from topcoat.destinations.registry import RegistryDestination
from topcoat.errors import InvalidRunConfigException, NeedsBuilder
from topcoat.images.build import plan_image
from topcoat.images.options import build_args, image_options, image_opts, image_repository
from topcoat.images.plans import (
    TORCHX_DOCKERFILE,
    DockerfilePlan,
    ImagePlan,
    ImagePlans,
    PatchPlan,
    find_dockerfile,
    plan_dockerfile,
)
from topcoat.notices import notice
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.scan.sources import ScanRoot, find_scan_roots
from topcoat.specs import AppDef, CfgVal, Role, Workspace, runopts
from topcoat.workspace.api import WorkspaceMixin, set_image

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["TORCHX_DOCKERFILE", "DockerWorkspaceMixin"]


class DockerWorkspaceMixin(WorkspaceMixin[dict[str, tuple[str, str]]]):
    """Lay the workspace over the role's image, as ``COPY . .`` would, without building.

    With the run option ``image_repo`` the image goes to that repository and no container engine is used; without it,
    or where jobs run on this machine's engine, it is loaded there. ``.dockerignore`` and ``.torchxignore`` decide what
    is left out.

    In a workspace with a ``Dockerfile.torchx``, that file says what the image is, with the build arguments ``IMAGE``
    (the role's image), ``WORKSPACE`` (the workspace's path) and those of ``build_args``. It is carried out in the same
    way where it runs nothing; else a builder has to do it.

    Log in with ``docker login`` for repositories that ask for it.
    """

    LABEL_VERSION: ClassVar[str] = "dev.topcoat.version"

    # Jobs run on this machine's container engine: a repository would only be a detour.
    _runs_on_engine: ClassVar[bool] = False

    def __init__(self, *args: object, docker_client: DockerClient | None = None, **kwargs: object) -> None:
        """Pass *docker_client* to use an engine other than the one the docker command line would use."""
        super().__init__(*args, **kwargs)
        self.__docker_client = docker_client
        self._client_was_given = docker_client is not None
        self._clients: Clients | None = None
        self._prepared: dict[str, PatchPlan] = {}
        self._built: dict[str, DockerfilePlan] = {}
        self._planned_for_engine: set[str] = set()

    @property
    def _docker_client(self) -> DockerClient:
        if self.__docker_client is None:
            from topcoat.engines.engine import connect

            self.__docker_client = connect()
        return self.__docker_client

    def _close_docker_client(self) -> None:
        """Close the connection to the engine, unless the client was given."""
        if self.__docker_client is not None and not self._client_was_given:
            self.__docker_client.close()

    def workspace_opts(self) -> runopts:
        """Return the run options of image workspaces."""
        return image_opts()

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        """Build the patched image and make it the role's: by its id.

        Roles with the same image and workspace share one build.
        """
        if not role.workspace:
            return
        if self._calls_deprecated_hook_of_subclass(DockerWorkspaceMixin):
            super().caching_build_workspace_and_update_role(role, cfg, build_cache)
            return
        key = (DockerWorkspaceMixin, role.image, role.workspace)
        if key not in build_cache:
            build_cache[key] = self._build(role.image, role.workspace, cfg)
        set_image(role, str(build_cache[key]))

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        """Build the patched image from the directory *workspace* and make it the role's: by its id."""
        set_image(role, self._build(role.image, Workspace({workspace: ""}), cfg))

    def dryrun_push_images(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> dict[str, tuple[str, str]]:
        """Name the images of *app* that are known by their id after where they will be pushed.

        Returns:
            ``{id: (repository, tag)}``, for `push_images`. Images with names stay as they are.

        Raises:
            InvalidRunConfigException: there is such an image, and no ``image_repo`` to push it to.
        """
        images: dict[str, tuple[str, str]] = {}
        for role in app.roles:
            if role.image in self._planned_for_engine:
                _required(None, role)
            if not role.image.startswith("sha256:"):
                continue
            repository = _required(image_repository(cfg), role)
            prepared = self._prepared.get(role.image)
            tag = prepared.build.tag if prepared else role.image.removeprefix("sha256:")
            images[role.image] = (repository.name, tag)
            set_image(role, str(repository.with_tag(tag)))
        return images

    def push_images(self, images_to_push: dict[str, tuple[str, str]]) -> None:
        """Push images: those built here from what was packed, any others from the container engine.

        Raises:
            RegistryError: the registry cannot be reached or refuses.
            DaemonError: the engine cannot push an image that was not built here.
        """
        for image, (repository, tag) in images_to_push.items():
            prepared = self._prepared.get(image)
            if image in self._built:
                self._built[image].push(image, Reference.parse(repository).with_tag(tag))
            elif prepared is None:
                push_image(self._docker_client, image, repository, tag)
            else:
                destination = self._registry(Reference.parse(repository))
                destination.deliver(prepared.build._replace(tag=tag), prepared.context)
                # What is pushed need not be kept; pushed once more, it is found there.
                self._prepared[image] = prepared._replace(build=prepared.build.without_spool())

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> ImagePlans | None:
        """Name the images that the roles will run; nothing is packed, built, loaded or pushed."""
        if not self._hooks_are_those_of(DockerWorkspaceMixin):
            return None
        plans: dict[tuple[str, Workspace], ImagePlan] = {}
        for role in roles:
            if not role.workspace:
                continue
            key = (role.image, role.workspace)
            if key not in plans:
                plans[key] = self._plan(role.image, role.workspace, cfg)
            set_image(role, plans[key].image)
        if image_repository(cfg) is None:
            self._planned_for_engine.update(plan.image for plan in plans.values())
        return ImagePlans(list(plans.values()))

    def _plan(
        self,
        image: str,
        workspace: Workspace,
        cfg: Mapping[str, CfgVal],
        projects: Sequence[ScanRoot] | None = None,
    ) -> PatchPlan | DockerfilePlan:
        options = image_options(cfg)
        repository = image_repository(cfg)
        if repository is not None and self._runs_on_engine:
            notice(f"image_repo={repository.name} is not used: jobs run on this machine's container engine")
            repository = None
        projects = find_scan_roots(workspace) if projects is None else projects
        dockerfile = find_dockerfile(projects)
        plan: PatchPlan | DockerfilePlan
        if dockerfile is None:
            destination = self._engine() if repository is None else self._registry(repository)
            build = plan_image(workspace, image, destination, options, projects=projects)
            scanned, plan = build.scan, PatchPlan(build, destination, context_of(workspace))
        else:
            if options.platform == ALL_PLATFORMS:
                raise InvalidRunConfigException(
                    f"platform=all and {TORCHX_DOCKERFILE} do not go together: a build is for one platform",
                    hint="name that platform, or build the base with buildx and lay the code over it",
                )
            scan_options = ScanOptions(IMAGE_IGNORE_FILES, options.modes, options.mtimes)
            scanned = scan(workspace, scan_options, projects=projects)
            plan = plan_dockerfile(
                scanned,
                dockerfile,
                image,
                workspace,
                lambda: self._engine() if repository is None else self._registry(repository),
                lambda reason: self._builder(reason, pushed=repository is not None),
                clients=self._registries,
                say=None if cfg.get("quiet") else _to_stderr,
                build_args=build_args(cfg),
                options=options,
                rebuild=bool(cfg.get("rebuild")),
                repository=repository,
            )
        return plan

    def _build(self, image: str, workspace: Workspace, cfg: Mapping[str, CfgVal]) -> str:
        """Build at once, into the engine or into a spool that is ready to be pushed; return the image's id."""

        def attempt() -> str:
            plan = self._plan(image, workspace, cfg)
            if isinstance(plan, DockerfilePlan):
                image_id = plan.build()
                self._built[image_id] = plan
                return image_id
            if not isinstance(plan.destination, RegistryDestination):
                return plan.destination.deliver(plan.build, plan.context).image
            build, image_id = plan.destination.prepare(plan.build, plan.context)
            self._prepared[image_id] = plan._replace(build=build)
            return image_id

        return until_settled(attempt)

    def _engine(self) -> DockerDestination:
        return DockerDestination(self._docker_client, self._registries)

    def _registry(self, repository: Reference) -> RegistryDestination:
        given = (lambda: nullcontext(self._docker_client)) if self._client_was_given else None
        return RegistryDestination(repository, self._registries, notify=notice, engine=given)

    def _builder(self, reason: NeedsBuilder, *, pushed: bool) -> Builder:
        return find_builder(
            lambda: self._docker_client,
            self._registries,
            reason,
            command_line=not self._client_was_given,
            pushed=pushed,
        )

    @property
    def _registries(self) -> Clients:
        if self._clients is None:
            self._clients = Clients()
        return self._clients


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _required(repository: Reference | None, role: Role) -> Reference:
    if repository is None:
        raise InvalidRunConfigException(
            f"the image of role {role.name} has to be pushed, and there is no repository to push it to",
            hint="-cfg image_repo=REGISTRY/REPOSITORY",
        )
    return repository
