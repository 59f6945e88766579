"""Plan the image of a workspace's ``Dockerfile.torchx``: evaluated here if no line needs a builder, else built."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence

from topcoat.bases.base import ALL_PLATFORMS
from topcoat.builders.builder import Recipe
from topcoat.builders.find import find_builder
from topcoat.destinations.push_records import workspace_key
from topcoat.dockerfile.external_images import external_images
from topcoat.dockerfile.parse import Dockerfile, parse_dockerfile
from topcoat.errors import InvalidRunConfigException, NeedsBuilder
from topcoat.foreign_text import printable
from topcoat.images.dockerfile_plan import dockerfile_image, evaluate_dockerfile
from topcoat.images.options import ImageOptions
from topcoat.images.tag import built_labels, built_tag
from topcoat.notices import notice
from topcoat.pipeline.connections import Connections
from topcoat.pipeline.plans import BuilderPlan, ImagePlan, PatchPlan
from topcoat.scan.job_dirs import without_job_dirs
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Scan, ScanOptions, scan
from topcoat.scan.sources import ScanRoot
from topcoat.specs.default_image import DEFAULT_IMAGE, check_image
from topcoat.specs.projects import Projects

_NAME = "Dockerfile.torchx"
# Build arguments that builders use without an ARG, besides those for proxies.
_BUILDER_ARGS = ("BUILDKIT_", "SOURCE_DATE_EPOCH")


def plan_dockerfile_image(
    workspace: Projects,
    roots: Sequence[ScanRoot],
    text: bytes,
    image: str,
    options: ImageOptions,
    connections: Connections,
) -> ImagePlan:
    """Plan the image of the Dockerfile *text*; nothing is built or pulled.

    Args:
        workspace: the build context.
        roots: of *workspace*.
        text: of the Dockerfile.
        image: the build argument ``IMAGE``.
        options: the user's.
        connections: to registries and the engine.

    Raises:
        InvalidDockerfile: it is malformed, or names files that do not exist.
        ImageNotFound: an image that it starts from does not exist.
        DaemonUnavailable: it needs a builder and none is available.
    """
    if options.platform == ALL_PLATFORMS:
        raise InvalidRunConfigException(
            f"platform=all cannot be combined with {_NAME}: a build is for one platform",
            "platform",
            hint="name that platform, or build the base with buildx and lay the code over it",
        )
    dockerfile = parse_dockerfile(text, _NAME)
    args = _build_args(dockerfile, workspace, image, options)
    scanned = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES, options.modes, options.mtimes), projects=roots)
    scanned = without_job_dirs(scanned, workspace)
    place = functools.cache(lambda: connections.place(options.repository))
    try:
        evaluated, base = evaluate_dockerfile(lambda: place().source, scanned, dockerfile, args, options)
    except NeedsBuilder as reason:
        return _plan_builder(dockerfile, scanned, workspace, args, options, connections, reason)
    compression = place().destination.stored_as(options.compression)
    planned = dockerfile_image(evaluated, base, options, compression)
    return PatchPlan(planned, place(), connections, workspace_key(workspace), _NAME)


def _build_args(dockerfile: Dockerfile, workspace: Projects, image: str, options: ImageOptions) -> dict[str, str]:
    for name in sorted(options.build_args.keys() - dockerfile.declared_args):
        if not name.lower().endswith("_proxy") and not name.startswith(_BUILDER_ARGS):
            notice(f"{_NAME} has no ARG {name}: the build argument may be unused")
    own = {"WORKSPACE": _common_path(workspace)}
    has_own_default = any(word.startswith("IMAGE=") for arg in dockerfile.arguments for word in arg.words)
    if not has_own_default or image not in ("", DEFAULT_IMAGE):
        own["IMAGE"] = image
        if "IMAGE" in dockerfile.declared_args - options.build_args.keys():
            check_image(image)
    # An argument that is not declared must not change the tag, least of all the path of the workspace.
    return {**{name: value for name, value in own.items() if name in dockerfile.declared_args}, **options.build_args}


def _plan_builder(
    dockerfile: Dockerfile,
    scanned: Scan,
    workspace: Projects,
    args: dict[str, str],
    options: ImageOptions,
    connections: Connections,
    reason: NeedsBuilder,
) -> BuilderPlan:
    builder = find_builder(
        connections.engine_client,
        connections.registries,
        reason,
        command_line=not connections.has_given_client,
        pushed=options.repository is not None,
    )
    names, platform = external_images(dockerfile, args, options.platform), options.platform
    bases = [builder.base_tag_inputs(name, platform) for name in names or ()]
    tag = built_tag(scanned.snapshot.digest, dockerfile.text, args, platform, bases)
    labels = built_labels(scanned.snapshot.digest, tag)
    recipe = Recipe(
        scanned, _NAME, dockerfile.text, args, platform, names or (), reason.message, options.rebuild, labels
    )
    on_output = None if options.quiet else _print_to_stderr
    cacheable = names is not None and not options.rebuild
    key = workspace_key(workspace)
    repository, verify = options.repository, options.verify
    return BuilderPlan(recipe, builder, on_output, connections, tag, cacheable, repository, str(workspace), key, verify)


def _common_path(workspace: Projects) -> str:
    """Return the workspace's path as the user gave it, or the common path of its projects."""
    sources = list(workspace.projects)
    if len(sources) == 1:
        return sources[0]
    try:
        return os.path.commonpath([os.path.abspath(os.path.expanduser(source)) for source in sources])
    except ValueError:
        return "workspace"


def _print_to_stderr(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)
