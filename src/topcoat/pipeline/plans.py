"""The two plans of an image: code layers over a base, and a builder's run of a Dockerfile.

Nothing is packed, built or sent before a plan is carried out. Both raise ``WorkspaceChanged`` if a file is no longer
what was planned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from topcoat.destinations.base import DeliveryResult, deliver
from topcoat.errors import RegistryError
from topcoat.images.image_build import ImageBuild
from topcoat.oci.reference import Reference
from topcoat.pipeline.connections import Connections, Place

if TYPE_CHECKING:
    from topcoat.builders.builder import Builder, Recipe
    from topcoat.builders.programs import OnOutput
    from topcoat.destinations.registry_delivery import PreparedImage


class BuiltImage(NamedTuple):
    """An image that is built and not pushed.

    Attributes:
        image_id: ``sha256:...``.
        tag: that it is pushed with.
        push: pushes it to ``repository:tag``; None if the engine has the image and pushes it by its id.
    """

    image_id: str
    tag: str
    push: Callable[[Reference], None] | None = None


class PatchPlan(NamedTuple):
    """Code layers over a base.

    Attributes:
        planned: the image.
        place: where it goes.
        connections: to push it elsewhere.
        workspace_key: names the workspace.
        dockerfile: name of the Dockerfile that it was evaluated from, if any.
    """

    planned: ImageBuild
    place: Place
    connections: Connections
    workspace_key: str
    dockerfile: str = ""

    @property
    def image(self) -> str:
        """The name that the image will have."""
        return self.place.destination.image_name(self.planned.tag)

    @property
    def env(self) -> Mapping[str, str]:
        """The variables that the image sets for the code; of several platforms, those of the first."""
        return self.planned.images[0].changes.env

    @property
    def entrypoint(self) -> tuple[str, ...]:
        """The image's ENTRYPOINT; of several platforms, that of the first."""
        image = self.planned.images[0]
        settings = {**(image.base.config.document.get("config") or {}), **image.changes.settings}
        return tuple(settings.get("Entrypoint") or ())

    def carry_out(self) -> DeliveryResult:
        """Deliver the image, unless it exists."""
        return deliver(self.place.destination, self.planned, self.workspace_key)

    def build(self) -> BuiltImage:
        """Load the image into the engine, or pack what its repository does not have."""
        from topcoat.destinations.registry import RegistryDestination

        destination = self.place.destination
        if not isinstance(destination, RegistryDestination):
            return BuiltImage(self.carry_out().image, self.planned.tag)
        prepared = destination.prepare(self.planned, self.workspace_key)
        pusher = _PreparedPusher(prepared, self.connections, self.workspace_key)
        return BuiltImage(prepared.image_id, self.planned.tag, pusher.push)

    def describe(self) -> str:
        """Return the plan as one line of text."""
        snapshot = self.planned.scan.snapshot
        how = (
            f"evaluated from {self.dockerfile}"
            if self.dockerfile
            else f"in {self.planned.images[0].changes.working_dir}"
        )
        code = f"{len(snapshot)} entries, {snapshot.size} bytes of {self.workspace_key} {how}"
        return f"{self.image}: {code}, over {self.planned.base_name}"


class _PreparedPusher:
    """Pushes a prepared image, from the spool the first time."""

    def __init__(self, prepared: PreparedImage, connections: Connections, workspace_key: str) -> None:
        self._prepared: PreparedImage | None = prepared
        self._build, self._connections, self._workspace_key = prepared.build, connections, workspace_key

    def push(self, target: Reference) -> None:
        from topcoat.tasks import TaskScope

        destination = self._connections.registry(target)
        build = self._build._replace(tag=target.tag)
        with TaskScope() as tasks, destination.begin(build, self._workspace_key, tasks, self._prepared) as delivery:
            delivery.finish()
        if self._prepared is not None:
            # A second push finds the image, or packs it again.
            self._prepared.code_layers.close()
            self._prepared = None


class BuilderPlan(NamedTuple):
    """A builder's run of ``Dockerfile.torchx``.

    Attributes:
        recipe: what is built.
        builder: what builds it.
        on_output: gets each line of a build's output; None keeps it for the error of a failed build.
        connections: to look up what is pushed already.
        tag: identifies the context, the Dockerfile, its arguments and the images that it starts from.
        cacheable: whether all of those are known, so that an existing image with the tag is not built again.
        repository: where it is pushed; None if it stays with the builder.
        workspace: for messages.
        workspace_key: names the workspace.
        verify: ask the registry for every blob of an image that it has.
    """

    recipe: Recipe
    builder: Builder
    on_output: OnOutput | None
    connections: Connections
    tag: str
    cacheable: bool
    repository: Reference | None
    workspace: str
    workspace_key: str
    verify: bool = False

    @property
    def image(self) -> str:
        """The name that the image will have."""
        return str(self.repository.with_tag(self.tag)) if self.repository else self._local_name

    @property
    def env(self) -> Mapping[str, str]:
        """None: the Dockerfile sets the variables."""
        return {}

    @property
    def entrypoint(self) -> tuple[str, ...]:
        """Empty: the Dockerfile sets it."""
        return ()

    @property
    def _local_name(self) -> str:
        return self.builder.image_name(self.tag)

    def build(self) -> BuiltImage:
        """Build the image, unless the builder has it."""
        from topcoat.builders.builder import build

        image_id = self.builder.image_id(self._local_name) if self.cacheable else None
        if image_id is None or not self.builder.has_labels(self._local_name, self.recipe.labels):
            build(self.builder, self.recipe, self._local_name, self.on_output)
            image_id = self.builder.image_id(self._local_name) or self._local_name

        def push(target: Reference) -> None:
            self.builder.push(image_id, target, self.on_output or (lambda line: None))

        return BuiltImage(image_id, self.tag, push)

    def carry_out(self) -> DeliveryResult:
        """Build the image, and push it if it has a repository, unless its tag refers to it already.

        Raises:
            TagMoved: the tag refers to another image.
        """
        if self.repository is None:
            return DeliveryResult(self.build().image_id)
        from topcoat.destinations.built_tag import BuiltTag

        target = self.repository.with_tag(self.tag)
        pushed = BuiltTag(target, self.connections.registries, self.recipe.labels, self.workspace_key)
        digest = pushed.find(verify=self.verify) if self.cacheable else ""
        if not digest:
            built = self.build()
            assert built.push is not None
            built.push(target)
            digest = pushed.find(verify=True)
            if not digest:
                raise RegistryError(
                    f"{self.builder.label} pushed {target}, and {target.registry} does not have all of it",
                    hint="-cfg rebuild=true builds and pushes it again",
                )
        return DeliveryResult(self.image, digest)

    def describe(self) -> str:
        """Return the plan as one line of text."""
        return f"{self.image}: {self.recipe.dockerfile} of {self.workspace}, built by {self.builder.label}"


ImagePlan: TypeAlias = PatchPlan | BuilderPlan
