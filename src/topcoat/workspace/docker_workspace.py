"""Workspaces as container images (TorchX's ``torchx.workspace.docker_workspace``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from topcoat.build import plan_image
from topcoat.destinations.base import ImageBuild, ImageDestination
from topcoat.errors import InvalidRunConfigException
from topcoat.notices import notice
from topcoat.oci.reference import Reference
from topcoat.specs import AppDef, CfgVal, Role, Workspace, runopts
from topcoat.workspace.api import WorkspaceMixin, set_image
from topcoat.workspace.image_options import image_options, image_opts, image_repository

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.destinations.docker import DockerDestination
    from topcoat.destinations.registry import RegistryDestination
    from topcoat.registry.clients import Clients

TORCHX_DOCKERFILE = "Dockerfile.torchx"


class _Prepared(NamedTuple):
    """An image that was packed for a registry and not pushed yet."""

    build: ImageBuild
    context: str


class DockerWorkspaceMixin(WorkspaceMixin[dict[str, tuple[str, str]]]):
    """Lay the workspace over the role's image, as ``COPY . .`` would, without building.

    With the run option ``image_repo`` the image goes to that repository and no container engine is used; without it,
    or where jobs run on this machine's engine, it is loaded there. ``.dockerignore`` and ``.torchxignore`` decide what
    is left out.

    Log in with ``docker login`` for repositories that ask for it.
    """

    LABEL_VERSION: ClassVar[str] = "dev.topcoat.version"

    # Jobs run on this machine's container engine: a repository would only be a detour.
    _runs_on_engine: ClassVar[bool] = False

    def __init__(self, *args: object, docker_client: DockerClient | None = None, **kwargs: object) -> None:
        """Pass *docker_client* to use an engine other than the one the docker command line would use."""
        super().__init__(*args, **kwargs)
        self.__docker_client = docker_client
        self._clients: Clients | None = None
        self._prepared: dict[str, _Prepared] = {}

    @property
    def _docker_client(self) -> DockerClient:
        if self.__docker_client is None:
            from topcoat.destinations.engine import connect

            self.__docker_client = connect()
        return self.__docker_client

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
            if prepared is None:
                self._push_from_engine(image, repository, tag)
            else:
                destination = self._registry(Reference.parse(repository))
                destination.deliver(prepared.build._replace(tag=tag), prepared.context)

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> ImagePlans | None:
        """Name the images that the roles will run; nothing is packed, loaded or pushed."""
        if not self._hooks_are_those_of(DockerWorkspaceMixin):
            return None
        plans: dict[tuple[str, Workspace], ImagePlan] = {}
        for role in roles:
            if not role.workspace:
                continue
            key = (role.image, role.workspace)
            if key not in plans:
                destination = self._destination(cfg)
                build = self._plan(role.image, role.workspace, destination, cfg)
                plans[key] = ImagePlan(build, destination, str(role.workspace))
            set_image(role, plans[key].image)
        return ImagePlans(list(plans.values()))

    def _destination(self, cfg: Mapping[str, CfgVal]) -> ImageDestination:
        repository = self._repository(cfg)
        return self._engine() if repository is None else self._registry(repository)

    def _repository(self, cfg: Mapping[str, CfgVal]) -> Reference | None:
        return None if self._runs_on_engine else image_repository(cfg)

    def _engine(self) -> DockerDestination:
        from topcoat.destinations.docker import DockerDestination

        return DockerDestination(self._docker_client)

    def _registry(self, repository: Reference) -> RegistryDestination:
        from topcoat.destinations.registry import RegistryDestination
        from topcoat.registry.clients import Clients

        if self._clients is None:
            self._clients = Clients()
        return RegistryDestination(repository, self._clients, notify=notice)

    def _build(self, image: str, workspace: Workspace, cfg: Mapping[str, CfgVal]) -> str:
        """Build at once: into the engine, or packed and ready to be pushed; return the image's id."""
        repository, context = self._repository(cfg), str(workspace)
        if repository is None:
            engine = self._engine()
            return engine.deliver(self._plan(image, workspace, engine, cfg), context).image
        registry = self._registry(repository)
        build = self._plan(image, workspace, registry, cfg)._replace(spool={})
        image_id = registry.prepare(build, context)
        self._prepared[image_id] = _Prepared(build, context)
        return image_id

    def _plan(
        self, image: str, workspace: Workspace, destination: ImageDestination, cfg: Mapping[str, CfgVal]
    ) -> ImageBuild:
        build = plan_image(workspace, image, destination, image_options(cfg))
        for warning in build.scan.warnings:
            notice(warning)
        return build

    def _push_from_engine(self, image: str, repository: str, tag: str) -> None:
        from topcoat.destinations.docker import push_image

        push_image(self._docker_client, image, repository, tag)


class ImagePlan(NamedTuple):
    """One image that is planned."""

    build: ImageBuild
    destination: ImageDestination
    context: str

    @property
    def image(self) -> str:
        """The name that the image will have."""
        return self.destination.image_name(self.build.tag)


class ImagePlans:
    """The images that an application needs."""

    def __init__(self, plans: list[ImagePlan]) -> None:
        self._plans = plans

    def carry_out(self) -> None:
        """Deliver every image that is not there yet."""
        for plan in self._plans:
            plan.destination.deliver(plan.build, plan.context)

    def lines(self) -> list[str]:
        """Describe the plan, a line for each image."""
        return [
            f"{plan.image}: {len(plan.build.scan.snapshot)} entries, {plan.build.scan.snapshot.size} bytes of "
            f"{plan.context} in {plan.build.changes.working_dir}, over {plan.build.base.name}"
            for plan in self._plans
        ]


def _required(repository: Reference | None, role: Role) -> Reference:
    if repository is None:
        raise InvalidRunConfigException(
            f"the image of role {role.name} has to be pushed, and there is no repository to push it to",
            hint="-cfg image_repo=REGISTRY/REPOSITORY",
        )
    return repository
