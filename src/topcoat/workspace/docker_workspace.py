"""Workspaces as container images (TorchX's ``torchx.workspace.docker_workspace``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

from topcoat.errors import MissingRunOption
from topcoat.images.options import image_options, image_opts
from topcoat.images.tag import VERSION_LABEL
from topcoat.notices import notice, notices_once
from topcoat.oci.reference import Reference
from topcoat.pipeline import TORCHX_DOCKERFILE, Connections, ImageOptions, plan_image, pushing
from topcoat.pipeline.plans import BuiltImage, ImagePlan
from topcoat.scan.retry import retry_if_changed
from topcoat.scan.snapshot import Snapshot
from topcoat.specs import AppDef, CfgVal, Role, Workspace, runopts
from topcoat.specs.delivery import Delivered
from topcoat.workspace.api import WorkspaceMixin
from topcoat.workspace.hooks import RunsFrom
from topcoat.workspace.plan import RolePlans, apply_to_role, plan_roles, set_image

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["TORCHX_DOCKERFILE", "DockerWorkspaceMixin"]


class ImageDelivery(NamedTuple):
    """The delivery of a workspace as an image."""

    plan: ImagePlan
    options: ImageOptions = ImageOptions()

    @property
    def expected(self) -> Delivered:
        """The image by its tag."""
        return _delivered(self.plan, self.plan.image)

    def carry_out(self) -> Delivered:
        """Deliver the image; return it by its tag and digest, or by its id in the engine."""
        return _delivered(self.plan, pushing(self.options, self.plan.carry_out).reference)

    def describe(self) -> str:
        """Return the plan as one line of text."""
        return self.plan.describe()

    @property
    def shipped(self) -> tuple[str, Snapshot] | None:
        """The workspace and its snapshot."""
        return self.plan.shipped


class DockerWorkspaceMixin(WorkspaceMixin[dict[str, tuple[str, str]]]):
    """Lay the workspace over the role's image, as ``COPY . .`` would, without building.

    With the run option ``image_repo`` the image goes to that repository and no container engine is used; without it,
    or if jobs run on this machine's engine, it is loaded there. ``.dockerignore`` and ``.torchxignore`` decide what is
    left out.

    A ``Dockerfile.torchx`` in the workspace defines the image, with the build arguments ``IMAGE`` (the role's
    image), ``WORKSPACE`` (the workspace's path) and those of ``build_args``. If no line of it needs a builder, the
    image is made in the same way.

    For repositories that need a login, use ``docker login``.
    """

    LABEL_VERSION: ClassVar[str] = VERSION_LABEL

    def __init__(self, *args: object, docker_client: DockerClient | None = None, **kwargs: object) -> None:
        """Pass *docker_client* to use an engine other than the one of the docker command line."""
        super().__init__(*args, **kwargs)
        self._connections = Connections(docker_client)
        self._built: dict[str, BuiltImage] = {}
        self._planned_for_engine: set[str] = set()

    @property
    def _docker_client(self) -> DockerClient:
        return self._connections.engine_client()

    def close_connections(self) -> None:
        """Close the connection to the engine, unless the caller passed it in."""
        self._connections.close()

    def workspace_opts(self) -> runopts:
        """Return the run options of image workspaces."""
        return image_opts()

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        """Build the patched image and make it the role's: by its id.

        Roles with the same image, workspace and platform share one build.
        """
        if not role.workspace:
            return
        if self._calls_deprecated_hook_of_subclass(DockerWorkspaceMixin):
            super().caching_build_workspace_and_update_role(role, cfg, build_cache)
            return
        options = self._role_options(self._options(cfg), role, cfg)
        key = (DockerWorkspaceMixin, role.image, role.workspace, options.platform)
        if key not in build_cache:
            build_cache[key] = self._build(role.image, role.workspace, options)
        apply_to_role(role, cast(Delivered, build_cache[key]))

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        """Build the patched image from the directory *workspace* and make it the role's: by its id."""
        options = self._role_options(self._options(cfg), role, cfg)
        apply_to_role(role, self._build(role.image, Workspace({workspace: ""}), options))

    def dryrun_push_images(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> dict[str, tuple[str, str]]:
        """Give the images of *app* that are known by their ids the names that they will be pushed to.

        Returns:
            ``{id: (repository, tag)}``, for `push_images`. Images with names stay as they are.

        Raises:
            MissingRunOption: there is such an image, and no ``image_repo`` to push it to.
        """
        images: dict[str, tuple[str, str]] = {}
        for role in app.roles:
            is_planned = role.image in self._planned_for_engine
            if not is_planned and not role.image.startswith("sha256:"):
                continue
            repository = image_options(cfg).repository
            if is_planned or repository is None:
                raise _missing_repository(f"the image of role {role.name} has to be pushed")
            built = self._built.get(role.image)
            tag = built.tag if built else role.image.removeprefix("sha256:")
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
            built = self._built.get(image)
            if built is not None and built.push is not None:
                built.push(Reference.parse(repository).with_tag(tag))
            else:
                from topcoat.destinations.engine import push_image

                push_image(self._docker_client, image, repository, tag)

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> RolePlans | None:
        """Name the images that the roles will run; nothing is packed, built, loaded or pushed."""
        if not self._hooks_are_those_of(DockerWorkspaceMixin):
            return None
        if not any(role.workspace for role in roles):
            return RolePlans({})
        options = self._options(cfg)
        deliveries: dict[tuple[str, Workspace, str], ImageDelivery] = {}

        def plan_role(role: Role) -> ImageDelivery:
            assert role.workspace
            role_options = self._role_options(options, role, cfg)
            key = (role.image, role.workspace, role_options.platform)
            if key not in deliveries:
                plan = plan_image(role.workspace, role.image, role_options, connections=self._connections)
                deliveries[key] = ImageDelivery(plan, role_options)
            return deliveries[key]

        plans = plan_roles(roles, plan_role)
        if options.repository is None:
            self._planned_for_engine.update(delivered.image for delivered in plans.expected().values())
        return plans

    def _options(self, cfg: Mapping[str, CfgVal]) -> ImageOptions:
        """Parse the run options, for what the jobs of this scheduler run from."""
        options, scheduler = image_options(cfg), self._chosen_by or self
        runs_from = self.runs_from or scheduler.runs_from
        if runs_from is RunsFrom.ENGINE and options.repository is not None:
            notice(
                f"image_repo={options.repository.name} is ignored: jobs run on this machine's container engine, so "
                "pushing is unnecessary"
            )
            return options._replace(repository=None)
        if runs_from is RunsFrom.REGISTRY and options.repository is None:
            name = getattr(scheduler, "backend", type(scheduler).__name__)
            raise _missing_repository(f"the scheduler {name!r} runs {RunsFrom.REGISTRY.value}")
        return options

    def _role_options(self, options: ImageOptions, role: Role, cfg: Mapping[str, CfgVal]) -> ImageOptions:
        platform = options.platform or (self._chosen_by or self).role_platform(role, cfg)
        return options._replace(platform=platform)

    def _build(self, image: str, workspace: Workspace, options: ImageOptions) -> Delivered:
        """Build at once, into the engine or into a spool that is ready to be pushed; return the image by its id."""

        def attempt() -> tuple[ImagePlan, BuiltImage]:
            plan = plan_image(workspace, image, options, connections=self._connections)
            return plan, plan.build()

        with notices_once():
            plan, built = retry_if_changed(attempt)
        self._built[built.image_id] = built
        return _delivered(plan, built.image_id)


def _delivered(plan: ImagePlan, image: str) -> Delivered:
    """Return *image* as it is delivered, with the PYTHONPATH that *plan* gives it."""
    pythonpath, directory = plan.env.get("PYTHONPATH", ""), plan.env.get("WORKSPACE_DIR", "")
    code = [path for path in (directory, f"{directory.rstrip('/')}/src") if path in pythonpath.split(":")]
    return Delivered(
        image,
        pythonpath=tuple(code) if pythonpath else (),
        image_pythonpath=pythonpath,
        entrypoint=plan.entrypoint,
    )


def _missing_repository(reason: str) -> MissingRunOption:
    return MissingRunOption(
        f"missing image_repo: {reason}, and there is no repository to push it to",
        "image_repo",
        hint="-cfg image_repo=REGISTRY/REPOSITORY",
    )
