"""What an image workspace comes to: a patch over the base, or a build of the workspace's own Dockerfile."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from topcoat.destinations.base import ImageBuild, ImageDestination
from topcoat.destinations.builder import Recipe, build_with_engine
from topcoat.destinations.docker import DockerDestination, push_image
from topcoat.destinations.dockerfile import external_images
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.reference import Reference
from topcoat.scan.scanner import Scan
from topcoat.scan.sources import find_projects
from topcoat.specs import Workspace

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.registry.clients import Clients

TORCHX_DOCKERFILE = "Dockerfile.torchx"

_FORMAT = 1


class ImagePlan(Protocol):
    """One image that is planned."""

    @property
    def image(self) -> str:
        """The name that the image will have."""

    def carry_out(self) -> None:
        """Bring the image to where it is used, unless it is there."""

    def line(self) -> str:
        """Describe the plan."""


class PatchPlan(NamedTuple):
    """Code layers over a base."""

    build: ImageBuild
    destination: ImageDestination
    context: str

    @property
    def image(self) -> str:
        """The name that the image will have."""
        return self.destination.image_name(self.build.tag)

    def carry_out(self) -> None:
        """Deliver the image, unless it is there."""
        self.destination.deliver(self.build, self.context)

    def line(self) -> str:
        """Describe the plan."""
        snapshot = self.build.scan.snapshot
        where = f"{self.context} in {self.build.changes.working_dir}, over {self.build.base.name}"
        return f"{self.image}: {len(snapshot)} entries, {snapshot.size} bytes of {where}"


class Builder(NamedTuple):
    """The engine that builds, and how.

    Attributes:
        client: of the engine.
        engine: its image store.
        clients: of registries, to see what is pushed already.
        command_line: the docker command line finds the same engine.
        say: takes each line of a build's output; None keeps it for the error of one that fails.
    """

    client: DockerClient
    engine: DockerDestination
    clients: Clients
    command_line: bool
    say: Callable[[str], None] | None


class DockerfilePlan(NamedTuple):
    """A build of ``Dockerfile.torchx``.

    Attributes:
        recipe: what is built.
        builder: what builds it.
        tag: stands for the context, the Dockerfile, its arguments and the images it starts from.
        certain: all of those are known, so an image with this tag need not be built again.
        repository: where it is pushed; None where it stays in the engine.
        context: the workspace.
    """

    recipe: Recipe
    builder: Builder
    tag: str
    certain: bool
    repository: Reference | None
    context: str

    @property
    def image(self) -> str:
        """The name that the image will have."""
        return str(self.repository.with_tag(self.tag)) if self.repository else self._local

    @property
    def _local(self) -> str:
        return self.builder.engine.image_name(self.tag)

    def build(self) -> str:
        """Build the image in the engine, unless it is there; return its id."""
        engine = self.builder.engine
        known = engine.image_id(self._local) if self.certain else None
        if known is None:
            build_with_engine(
                self.builder.client,
                self.recipe,
                self._local,
                self.builder.say,
                command_line=self.builder.command_line,
            )
        return known or engine.image_id(self._local) or self._local

    def carry_out(self) -> None:
        """Build the image and push it where it has a repository, unless it is there."""
        target = self.repository
        if target is None:
            self.build()
            return
        registry = self.builder.clients(target.registry)
        if self.certain and registry.head_manifest(target.repository, self.tag) is not None:
            return
        push_image(self.builder.client, self.build(), target.name, self.tag)

    def line(self) -> str:
        """Describe the plan."""
        return f"{self.image}: {self.recipe.dockerfile} of {self.context}, built by the container engine"


class ImagePlans:
    """The images that an application needs."""

    def __init__(self, plans: list[ImagePlan]) -> None:
        self._plans = plans

    def carry_out(self) -> None:
        """Bring every image to where it is used."""
        for plan in self._plans:
            plan.carry_out()

    def lines(self) -> list[str]:
        """Describe the plan, a line for each image."""
        return [plan.line() for plan in self._plans]


def find_dockerfile(workspace: Workspace) -> bytes | None:
    """Return the text of the workspace's ``Dockerfile.torchx``, None where it has none at its root.

    Ignore rules do not hide it from the builder.
    """
    text = None
    for project in find_projects(workspace):
        if not project.target and project.file is None:
            present = any(node.name == TORCHX_DOCKERFILE for node in project.tree.list(""))
            text = project.tree.read(TORCHX_DOCKERFILE) if present else text
        elif project.target == TORCHX_DOCKERFILE.encode() and project.file is not None:
            text = project.tree.read(project.file.name)
    return text


def plan_dockerfile(
    scanned: Scan,
    text: bytes,
    image: str,
    workspace: Workspace,
    builder: Builder,
    *,
    build_args: Mapping[str, str],
    platform: str,
    rebuild: bool,
    repository: Reference | None,
) -> DockerfilePlan:
    """Plan the build of a Dockerfile: read what it starts from, and name the result. Nothing is built or pulled.

    Raises:
        ImageNotFound: an image that it starts from does not exist.
    """
    args = {"IMAGE": image, "WORKSPACE": _common_path(workspace), **build_args}
    origins = external_images(text.decode("utf-8", "replace"), args)
    bases = [builder.engine.find_base(origin, platform).config.identity for origin in origins or ()]
    decisive = [_FORMAT, scanned.snapshot.digest, sha256_digest(text), args, platform, bases]
    tag = sha256_digest(canonical_json(decisive)).removeprefix("sha256:")[:32]
    recipe = Recipe(scanned, TORCHX_DOCKERFILE, text, args, platform)
    certain = origins is not None and not rebuild
    return DockerfilePlan(recipe, builder, tag, certain, repository, str(workspace))


def _common_path(workspace: Workspace) -> str:
    """Return the workspace's path as the user gave it, or what the paths of its projects have in common."""
    sources = list(workspace.projects)
    if len(sources) == 1:
        return sources[0]
    try:
        return os.path.commonpath([os.path.abspath(os.path.expanduser(source)) for source in sources])
    except ValueError:
        return "workspace"
