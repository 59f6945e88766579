"""Plan a patch: a workspace over each platform of a base."""

from __future__ import annotations

import posixpath

from topcoat.bases.base import Base, BaseIndex, BaseSource, images_of
from topcoat.bases.code_location import MEGABYTE, CodeLocation, check_code_location, locate_code
from topcoat.images.image_build import ImageBuild, PlatformImage
from topcoat.images.options import ImageOptions
from topcoat.images.tag import image_labels, index_tag, patch_tag, with_identity
from topcoat.oci.compression import Compression
from topcoat.oci.config import DEFAULT_PATH
from topcoat.oci.patch import Changes
from topcoat.pack.layer import PackOptions
from topcoat.pack.tar import Ownership
from topcoat.rootfs.access import warn_of_closed_directories
from topcoat.scan.import_paths import import_paths
from topcoat.scan.scanner import Scan


def locate_in_images(source: BaseSource, base: Base | BaseIndex, options: ImageOptions) -> list[CodeLocation]:
    """Look up the directory for the code in each image of *base*; see `locate_code`."""
    max_bytes = options.base_scan_limit * MEGABYTE
    return [
        locate_code(source, image, _workspace_dir(image, options).strip("/").encode(), options.owner, max_bytes)
        for image in images_of(base)
    ]


def plan_patch(
    source: BaseSource,
    scan: Scan,
    base: Base | BaseIndex,
    locations: list[CodeLocation],
    options: ImageOptions,
    compression: Compression,
) -> ImageBuild:
    """Plan the images that *scan* makes over *base*.

    Args:
        source: of the base, to look up more of it if the code goes to its root.
        scan: the workspace.
        base: an image or an index.
        locations: of the code in each image of *base*.
        options: the user's.
        compression: of the code layers at the destination.

    Raises:
        PathConflict: a directory of one is something else in the other.
    """
    images, tags = [], []
    for image, location in zip(images_of(base), locations, strict=True):
        check_code_location(source, image, location, scan.snapshot, options.base_scan_limit * MEGABYTE)
        planned = _platform_image(scan, image, location, options, compression)
        tags.append(patch_tag(scan.snapshot.digest, image, planned.pack, planned.changes))
        images.append(planned._replace(changes=with_identity(planned.changes, tags[-1])))
    index = base.image_index if isinstance(base, BaseIndex) else None
    tag = tags[0] if index is None else index_tag(tags)
    return ImageBuild(scan, tag, tuple(images), index, options.hot, options.rebuild, options.verify)


def _platform_image(
    scan: Scan, base: Base, location: CodeLocation, options: ImageOptions, compression: Compression
) -> PlatformImage:
    # The directory as the image names it, and where that is with links resolved.
    directory, resolved = _workspace_dir(base, options), location.target
    env = {} if "PATH" in base.config.env or base.config.platform.os == "windows" else {"PATH": DEFAULT_PATH}
    env["WORKSPACE_DIR"] = directory
    paths = import_paths(scan.snapshot, directory) if options.pythonpath else ()
    if paths:
        env["PYTHONPATH"] = ":".join([*paths, *filter(None, [base.config.env.get("PYTHONPATH")])])
    warn_of_closed_directories(resolved.parents, str(base.config.settings.get("User") or ""), directory)
    preserve_mtimes = options.mtimes == "preserve"
    owner = options.owner or Ownership()
    pack = PackOptions(resolved.target, resolved.parents, owner, preserve_mtimes, compression)
    labels = image_labels(scan.snapshot.digest, base, resolved.target)
    return PlatformImage(base, pack, Changes(directory, env, labels))


def _workspace_dir(base: Base, options: ImageOptions) -> str:
    # A WORKDIR can be written in several ways; an archive holds each path in one.
    return options.workspace_dir or posixpath.normpath(base.config.working_dir)
