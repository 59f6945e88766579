"""A Dockerfile that takes no builder, as an image build like that of a patch: a snapshot over a base, and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from topcoat.bases.base import Base
from topcoat.bases.code_location import MEGABYTE, cached_tree
from topcoat.destinations.base import ImageBuild, ImageDestination
from topcoat.dockerfile.evaluate import Evaluated, StageBase, evaluate
from topcoat.dockerfile.parse import Dockerfile
from topcoat.images.build import ImageOptions
from topcoat.oci.compression import Compression
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.patch import Changes
from topcoat.pack.layer import PackOptions
from topcoat.scan.scanner import Scan

# Part of every tag: it changes when the same inputs give another image.
_FORMAT = 1


class _Work:
    """The Dockerfile being evaluated against one base, looked up where *base* is not given."""

    def __init__(self, destination: Callable[[], ImageDestination], limit: int, base: Base | None = None) -> None:
        self._destination = destination
        self._limit = limit
        self.base = base

    def evaluate(self, dockerfile: Dockerfile, scan: Scan, args: Mapping[str, str], platform: str) -> Evaluated:
        with ExitStack() as trees:

            def find(image: str, wanted: str) -> StageBase:
                destination = self._destination()
                self.base = self.base or destination.find_base(image, wanted)
                tree = trees.enter_context(cached_tree(destination, self.base, self._limit))
                return StageBase(self.base.config, tree)

            return evaluate(dockerfile, scan, args, find, platform=platform)


def dockerfile_image(
    scan: Scan,
    dockerfile: Dockerfile,
    args: Mapping[str, str],
    destination: Callable[[], ImageDestination],
    options: ImageOptions,
) -> ImageBuild:
    """Evaluate *dockerfile* over the context *scan*; nothing is packed or sent.

    *destination* is asked for when the Dockerfile turns out to take no builder.

    Raises:
        InvalidDockerfile: it cannot be understood, or asks for what is not there.
        NeedsBuilder: only a builder can carry it out.
        ImageError: and its kinds, when the base cannot be used.
        RegistryError: and its kinds, when the registry cannot be reached or refuses.
    """
    limit = options.base_scan_limit * MEGABYTE
    work = _Work(destination, limit)
    evaluated = work.evaluate(dockerfile, scan, args, options.platform)
    base = work.base
    assert base is not None  # there is no image without a FROM
    confirmed = destination().confirm_base(base)
    if confirmed is not base:
        base = confirmed
        evaluated = _Work(destination, limit, base).evaluate(dockerfile, scan, args, options.platform)
    return _image_build(evaluated, base, options, destination().stored_as(options.compression))


def _image_build(evaluated: Evaluated, base: Base, options: ImageOptions, compression: Compression) -> ImageBuild:
    settings = dict(evaluated.settings)
    if not base.config.settings.get("WorkingDir"):
        # Where neither base nor Dockerfile names one, the image has none.
        settings.setdefault("WorkingDir", None)
    labels = {
        "dev.topcoat.snapshot": evaluated.scan.snapshot.digest,
        "dev.topcoat.base": base.config.identity,
        "dev.topcoat.target": "/",
    }
    decisive: list[object] = [_FORMAT, "dockerfile", labels, options.mtimes, settings, evaluated.author]
    if compression == "zstd":
        decisive.append(compression)
    tag = sha256_digest(canonical_json(decisive)).removeprefix("sha256:")[:32]
    changes = Changes(evaluated.working_dir, {}, labels, settings, evaluated.author)
    pack = PackOptions(b"", (), times=options.mtimes == "preserve", compression=compression)
    return ImageBuild(evaluated.scan, base, pack, changes, tag, options.hot)
