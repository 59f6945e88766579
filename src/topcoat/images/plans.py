"""What an image workspace comes to: a patch over the base, or a build of the workspace's own Dockerfile."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from topcoat.builders.builder import Builder, OnOutput, Recipe, build
from topcoat.destinations.base import DeliveryResult, ImageBuild, ImageDestination
from topcoat.destinations.push_records import context_of
from topcoat.errors import NeedsBuilder, WorkspaceError
from topcoat.images.build import ImageOptions
from topcoat.notices import notice
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.reference import Reference
from topcoat.scan.scanner import Scan
from topcoat.scan.sources import ScanRoot
from topcoat.scan.tree import Tree
from topcoat.specs import Workspace

if TYPE_CHECKING:
    from topcoat.registry.clients import Clients

TORCHX_DOCKERFILE = "Dockerfile.torchx"

_FORMAT = 1
# Build arguments that builders obey without an ARG, besides those for proxies.
_BUILDERS_OWN = ("BUILDKIT_", "SOURCE_DATE_EPOCH")


class ImagePlan(Protocol):
    """One image that is planned."""

    @property
    def image(self) -> str:
        """The name that the image will have."""

    def carry_out(self) -> DeliveryResult:
        """Bring the image to where it is used, unless it is there."""

    def line(self) -> str:
        """Describe the plan."""


class PatchPlan(NamedTuple):
    """Code layers over a base; *dockerfile* names the file that said which, if one did."""

    build: ImageBuild
    destination: ImageDestination
    context: str
    dockerfile: str = ""

    @property
    def image(self) -> str:
        """The name that the image will have."""
        return self.destination.image_name(self.build.tag)

    def carry_out(self) -> DeliveryResult:
        """Deliver the image, unless it is there."""
        return self.destination.deliver(self.build, self.context)

    def line(self) -> str:
        """Describe the plan."""
        snapshot = self.build.scan.snapshot
        how = f"as {self.dockerfile} says" if self.dockerfile else f"in {self.build.changes.working_dir}"
        where = f"{self.context} {how}, over {self.build.base.name}"
        return f"{self.image}: {len(snapshot)} entries, {snapshot.size} bytes of {where}"


class DockerfilePlan(NamedTuple):
    """A build of ``Dockerfile.torchx``.

    Attributes:
        recipe: what is built.
        builder: what builds it.
        say: takes each line of a build's output; None keeps it for the error of one that fails.
        clients: of registries, to see what is pushed already.
        tag: stands for the context, the Dockerfile, its arguments and the images it starts from.
        certain: all of those are known, so an image with this tag need not be built again.
        repository: where it is pushed; None where it stays with the builder.
        context: the workspace.
    """

    recipe: Recipe
    builder: Builder
    say: OnOutput | None
    clients: Clients
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
        return self.builder.image_name(self.tag)

    def build(self) -> str:
        """Build the image, unless the builder has it; return its id."""
        known = self.builder.image_id(self._local) if self.certain else None
        if known is None:
            build(self.builder, self.recipe, self._local, self.say)
        return known or self.builder.image_id(self._local) or self._local

    def carry_out(self) -> DeliveryResult:
        """Build the image and push it where it has a repository, unless it is there."""
        target = self.repository
        if target is None:
            return DeliveryResult(self.build())
        registry = self.clients(target.registry)
        found = registry.head_manifest(target.repository, self.tag) if self.certain else None
        if found is None:
            self.push(self.build(), target.with_tag(self.tag))
            found = registry.head_manifest(target.repository, self.tag)
        return DeliveryResult(self.image, found.digest if found else "")

    def push(self, image: str, target: Reference) -> None:
        """Push what was built, by its id, as *target*."""
        self.builder.push(image, target, self.say or (lambda text: None))

    def line(self) -> str:
        """Describe the plan."""
        return f"{self.image}: {self.recipe.dockerfile} of {self.context}, built by {self.builder.label}"


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


def find_dockerfile(projects: Iterable[ScanRoot]) -> bytes | None:
    """Return the text of ``Dockerfile.torchx`` at the root of the workspace of *projects*, None where there is none.

    Ignore rules do not hide it from the builder.

    Raises:
        WorkspaceError: it is no file, or cannot be read.
    """
    text = None
    for project in projects:
        if not project.target and project.file is None:
            present = any(node.name == TORCHX_DOCKERFILE for node in project.tree.list(""))
            text = _read_dockerfile(project.tree, TORCHX_DOCKERFILE) if present else text
        elif project.target == TORCHX_DOCKERFILE.encode() and project.file is not None:
            text = _read_dockerfile(project.tree, project.file.name)
    return text


def _read_dockerfile(tree: Tree, name: str) -> bytes:
    try:
        return tree.read(name)
    except WorkspaceError as error:
        hint = f"make it a file that can be read, or rename or remove it: ignore rules do not hide {TORCHX_DOCKERFILE}"
        raise type(error)(error.message, hint=hint) from error


def plan_dockerfile(
    scanned: Scan,
    text: bytes,
    image: str,
    workspace: Workspace,
    destination: Callable[[], ImageDestination],
    find_builder: Callable[[NeedsBuilder], Builder],
    *,
    clients: Clients,
    say: OnOutput | None,
    build_args: Mapping[str, str],
    options: ImageOptions,
    rebuild: bool,
    repository: Reference | None,
) -> PatchPlan | DockerfilePlan:
    """Plan what a Dockerfile comes to: code layers where it takes no builder, else a build.

    It is read, what it starts from is looked up, and the result gets its name. Nothing is built or pulled.
    *destination* and *find_builder* are asked for only where they are needed.

    Raises:
        InvalidDockerfile: it cannot be understood, or asks for what is not there.
        ImageNotFound: an image that it starts from does not exist.
        DaemonUnavailable: it takes a builder, and there is none.
    """
    from topcoat.dockerfile.external_images import external_images
    from topcoat.dockerfile.parse import parse_dockerfile
    from topcoat.images.dockerfile_image import dockerfile_image

    dockerfile = parse_dockerfile(text, TORCHX_DOCKERFILE)
    declared = dockerfile.declared_arguments
    for name in sorted(build_args.keys() - declared):
        if not name.lower().endswith("_proxy") and not name.startswith(_BUILDERS_OWN):
            notice(f"{TORCHX_DOCKERFILE} has no ARG {name}: the build argument may go unused")
    own = {"IMAGE": image, "WORKSPACE": _common_path(workspace)}
    # What is not asked for is not to decide the tag; least of all where the workspace lies.
    args = {**{name: value for name, value in own.items() if name in declared}, **build_args}
    destination = functools.cache(destination)
    try:
        carried_out = dockerfile_image(scanned, dockerfile, args, destination, options)
        return PatchPlan(carried_out, destination(), context_of(workspace), TORCHX_DOCKERFILE)
    except NeedsBuilder as needed:
        reason = needed
    builder = find_builder(reason)
    platform = options.platform
    origins = external_images(dockerfile, args, platform)
    bases = [builder.base_identity(origin, platform) for origin in origins or ()]
    decisive = [_FORMAT, scanned.snapshot.digest, sha256_digest(text), args, platform, bases]
    tag = sha256_digest(canonical_json(decisive)).removeprefix("sha256:")[:32]
    recipe = Recipe(scanned, TORCHX_DOCKERFILE, text, args, platform, origins or (), reason.message, rebuild)
    certain = origins is not None and not rebuild
    return DockerfilePlan(recipe, builder, say, clients, tag, certain, repository, str(workspace))


def _common_path(workspace: Workspace) -> str:
    """Return the workspace's path as the user gave it, or what the paths of its projects have in common."""
    sources = list(workspace.projects)
    if len(sources) == 1:
        return sources[0]
    try:
        return os.path.commonpath([os.path.abspath(os.path.expanduser(source)) for source in sources])
    except ValueError:
        return "workspace"
