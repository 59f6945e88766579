"""From a workspace and a base image to an image in a registry or in this machine's engine.

`plan_image` reads and names, without side effects; `build_image` carries out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from topcoat.bases.base import ALL_PLATFORMS
from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.push_records import workspace_key
from topcoat.errors import InvalidRunConfigException, TopcoatError, WorkspaceError
from topcoat.images.image_build import ImageBuild
from topcoat.images.options import ImageOptions
from topcoat.images.patch_plan import locate_in_images, plan_patch
from topcoat.notices import notices_once
from topcoat.pipeline.connections import Connections, Place
from topcoat.scan.content import read_file, refuse_link_out
from topcoat.scan.job_dirs import without_job_dirs
from topcoat.scan.retry import retry_if_changed
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.scan.sources import ScanRoot, find_scan_roots
from topcoat.scan.tree import Tree
from topcoat.specs.default_image import check_image
from topcoat.specs.projects import Projects
from topcoat.tasks import TaskScope

if TYPE_CHECKING:
    from topcoat.pipeline.plans import ImagePlan

T = TypeVar("T")

TORCHX_DOCKERFILE = "Dockerfile.torchx"

__all__ = ["TORCHX_DOCKERFILE", "Connections", "ImageOptions", "build_image", "plan_image", "pushing"]


def build_image(
    workspace: Projects, image: str, options: ImageOptions | None = None, *, connections: Connections | None = None
) -> DeliveryResult:
    """Lay *workspace* over the image *image*, or do what its ``Dockerfile.torchx`` says, and deliver the result.

    The result goes to the repository of *options*, or to the container engine if they have none. If a file changes
    during the build, the build starts again, at most three times.

    Args:
        workspace: the local code.
        image: name of the base image.
        options: see `images.options.image_options`.
        connections: those of an earlier build, to reuse them.

    Raises:
        WorkspaceError: and its kinds, when the workspace cannot be read or keeps changing.
        ImageError: and its kinds, when the base cannot be used, or the workspace does not fit on it.
        RegistryError: and its kinds, when a registry cannot be reached or refuses.
        DaemonError: and its kinds, when the container engine cannot be reached or refuses.
    """
    options = options or ImageOptions()
    connections = connections or Connections()

    def attempt() -> DeliveryResult:
        roots = find_scan_roots(workspace)
        dockerfile = _find_dockerfile(roots)
        if dockerfile is not None:
            return _plan_dockerfile(workspace, roots, dockerfile, image, options, connections).carry_out()
        return _deliver_patch(_place(image, options, connections), workspace, roots, image, options)

    with notices_once():
        return pushing(options, lambda: retry_if_changed(attempt))


def pushing(options: ImageOptions, push: Callable[[], T]) -> T:
    """Return what *push* does; a missing repository of Amazon ECR is created first if *options* allow it."""
    try:
        return push()
    except TopcoatError as error:
        if options.repository is None or not options.create_repository:
            raise
        from topcoat.registry.ecr import create_repository

        create_repository(options.repository, error)
    return push()


def plan_image(
    workspace: Projects, image: str, options: ImageOptions | None = None, *, connections: Connections | None = None
) -> ImagePlan:
    """Return what `build_image` would do; nothing is packed, built or sent."""
    from topcoat.pipeline.plans import PatchPlan

    options = options or ImageOptions()
    connections = connections or Connections()
    # A missing workspace is reported before any host is asked.
    roots = find_scan_roots(workspace)
    dockerfile = _find_dockerfile(roots)
    if dockerfile is not None:
        return _plan_dockerfile(workspace, roots, dockerfile, image, options, connections)
    place = _place(image, options, connections)
    with TaskScope() as tasks:
        _, confirm = _plan_patch(place, workspace, roots, image, options, tasks)
        return PatchPlan(confirm(), place, connections, workspace_key(workspace))


def _place(image: str, options: ImageOptions, connections: Connections) -> Place:
    check_image(image)
    place = connections.place(options.repository)
    if options.platform == ALL_PLATFORMS and not place.destination.takes_index:
        raise InvalidRunConfigException(
            "platform=all makes an image for every platform, and a container engine runs those of one",
            "platform",
            hint="push it to a registry with image_repo, or leave platform out for the engine's own",
        )
    return place


def _plan_patch(
    place: Place,
    workspace: Projects,
    roots: Sequence[ScanRoot],
    image: str,
    options: ImageOptions,
    tasks: TaskScope,
) -> tuple[ImageBuild, Callable[[], ImageBuild]]:
    """Return the plan over the cached base, and a function that waits for the plan over the current base."""
    compression = place.destination.stored_as(options.compression)
    found_base = place.source.find(image, options.platform, tasks)
    locating = tasks.start(lambda: locate_in_images(place.source, found_base.base, options))
    scanned = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES, options.modes, options.mtimes), projects=roots)
    scanned = without_job_dirs(scanned, workspace)
    planned = plan_patch(place.source, scanned, found_base.base, locating.result(), options, compression)

    def confirm() -> ImageBuild:
        base = found_base.confirm()
        if base is found_base.base:
            return planned
        locations = locate_in_images(place.source, base, options)
        return plan_patch(place.source, scanned, base, locations, options, compression)

    return planned, confirm


def _deliver_patch(
    place: Place, workspace: Projects, roots: Sequence[ScanRoot], image: str, options: ImageOptions
) -> DeliveryResult:
    """Plan and deliver at once: the delivery begins while the base is still being confirmed."""
    key = workspace_key(workspace)
    with TaskScope() as tasks:
        planned, confirm = _plan_patch(place, workspace, roots, image, options, tasks)
        with place.destination.begin(planned, key, tasks) as delivery:
            confirmed = confirm()
            if confirmed is planned:
                return delivery.finish()
        with place.destination.begin(confirmed, key, tasks) as delivery:
            return delivery.finish()


def _plan_dockerfile(
    workspace: Projects,
    roots: Sequence[ScanRoot],
    text: bytes,
    image: str,
    options: ImageOptions,
    connections: Connections,
) -> ImagePlan:
    # Most workspaces have no Dockerfile: what evaluates one is imported here.
    from topcoat.pipeline.dockerfile import plan_dockerfile_image

    return plan_dockerfile_image(workspace, roots, text, image, options, connections)


def _find_dockerfile(roots: Sequence[ScanRoot]) -> bytes | None:
    """Return the text of ``Dockerfile.torchx`` at the root of the workspace, None if it does not exist.

    Ignore rules do not hide it.

    Raises:
        WorkspaceError: it is not a file, or cannot be read.
    """
    text = None
    for root in roots:
        if not root.target and root.file is None:
            if any(node.name == TORCHX_DOCKERFILE for node in root.tree.list("")):
                text = _read(root.tree, TORCHX_DOCKERFILE)
        elif root.target == TORCHX_DOCKERFILE.encode() and root.file is not None:
            text = _read(root.tree, root.file.name)
    return text


def _read(tree: Tree, name: str) -> bytes:
    refuse_link_out(tree, name)
    try:
        return read_file(tree, name)
    except WorkspaceError as error:
        hint = f"make it a readable file, or rename or remove it: ignore rules do not hide {TORCHX_DOCKERFILE}"
        raise type(error)(error.message, hint=hint) from error
