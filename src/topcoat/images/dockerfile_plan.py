"""Plan the image of a Dockerfile that topcoat evaluates itself: a snapshot of the root over a base, and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from topcoat.bases.base import Base, BaseIndex, BaseSource, images_of
from topcoat.bases.code_location import MEGABYTE, cached_tree
from topcoat.dockerfile.evaluate import Evaluated, StageBase, evaluate
from topcoat.dockerfile.parse import Dockerfile
from topcoat.images.image_build import ImageBuild, PlatformImage
from topcoat.images.options import ImageOptions
from topcoat.images.tag import image_labels, patch_tag, with_identity
from topcoat.oci.compression import Compression
from topcoat.oci.patch import Changes
from topcoat.pack.layer import PackOptions
from topcoat.scan.scanner import Scan
from topcoat.tasks import TaskScope


def evaluate_dockerfile(
    get_source: Callable[[], BaseSource],
    scan: Scan,
    dockerfile: Dockerfile,
    args: Mapping[str, str],
    options: ImageOptions,
) -> tuple[Evaluated, Base]:
    """Evaluate a Dockerfile over the context *scan*; return the result and the base that it starts from.

    Args:
        get_source: returns the source of bases; it is called if no line needs a builder.
        scan: the build context.
        dockerfile: what is evaluated.
        args: build arguments.
        options: the user's.

    Raises:
        InvalidDockerfile: it is malformed, or names files that do not exist.
        NeedsBuilder: a line needs a builder.
        ImageError: and its kinds, when the base cannot be used.
        RegistryError: and its kinds, when the registry cannot be reached or refuses.
    """

    def evaluate_over(base: Base | None) -> tuple[Evaluated, Base, Base]:
        """Evaluate over *base*, or over the Dockerfile's own; return the base that was used and the current one."""
        with ExitStack() as stack:
            tasks = stack.enter_context(TaskScope())
            confirm: Callable[[], Base | BaseIndex] | None = None

            def find(image: str, platform: str) -> StageBase:
                nonlocal base, confirm
                source = get_source()
                if base is None:
                    found_base = source.find(image, platform, tasks)
                    (base,), confirm = images_of(found_base.base), found_base.confirm
                tree = stack.enter_context(cached_tree(source, base, options.base_scan_limit * MEGABYTE))
                return StageBase(base.config, tree)

            evaluated = evaluate(dockerfile, scan, args, find, platform=options.platform)
            assert base is not None  # every Dockerfile has a FROM
            return evaluated, base, images_of(confirm())[0] if confirm else base

    evaluated, base, current = evaluate_over(None)
    if current is not base:
        evaluated, base, _ = evaluate_over(current)
    return evaluated, base


def dockerfile_image(evaluated: Evaluated, base: Base, options: ImageOptions, compression: Compression) -> ImageBuild:
    """Return the image that an evaluated Dockerfile makes of *base*, with code layers of this *compression*."""
    settings = dict(evaluated.settings)
    if not base.config.settings.get("WorkingDir"):
        # If neither base nor Dockerfile names one, the image has none.
        settings.setdefault("WorkingDir", None)
    snapshot = evaluated.scan.snapshot.digest
    changes = Changes(evaluated.working_dir, {}, image_labels(snapshot, base, b""), settings, evaluated.author)
    pack = PackOptions(b"", (), preserve_mtimes=options.mtimes == "preserve", compression=compression)
    tag = patch_tag(snapshot, base, pack, changes)
    image = PlatformImage(base, pack, with_identity(changes, tag))
    return ImageBuild(evaluated.scan, tag, (image,), None, options.hot, options.rebuild, options.verify)
