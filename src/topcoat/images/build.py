"""The pipeline: workspace, snapshot, chunks, layers, image, destination.

``plan_image`` reads and names, without side effects; ``build_image`` carries out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import NamedTuple

from topcoat.bases.base import ALL_PLATFORMS, Base
from topcoat.bases.code_location import MEGABYTE, CodeLocation, check_code_location, locate_code
from topcoat.destinations.base import DeliveryResult, ImageBuild, ImageDestination
from topcoat.destinations.push_records import context_of, until_settled
from topcoat.errors import InvalidRunConfigException, UsageError
from topcoat.notices import notice
from topcoat.oci.compression import Compression
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.patch import Changes
from topcoat.pack.layer import PackOptions
from topcoat.pack.tar import Ownership
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Modes, Mtimes, Scan, ScanOptions, scan
from topcoat.scan.sources import ScanRoot, find_scan_roots
from topcoat.specs.projects import Projects
from topcoat.tasks import Task

# Part of every tag: it changes when the same inputs give another image.
_FORMAT = 1


class ImageOptions(NamedTuple):
    """What a user can decide about a patched image.

    Attributes:
        platform: which of the base's platforms; empty for the default one, ``all`` for every one.
        workspace_dir: absolute directory for the code; empty for the base's WORKDIR.
        chown: numeric ``uid[:gid]`` of the code; empty for root.
        modes: ``portable`` or ``exact``.
        mtimes: ``content`` or ``preserve``.
        pythonpath: put the code before installed packages.
        hot: let edits travel in one small layer on top.
        compression: ``gzip`` or ``zstd``, of layers in a registry.
        base_scan_limit: how many MB of the base's layers may be read to learn where the code lands; 0 reads nothing.
    """

    platform: str = ""
    workspace_dir: str = ""
    chown: str = ""
    modes: Modes = "portable"
    mtimes: Mtimes = "content"
    pythonpath: bool = True
    hot: bool = True
    compression: Compression = "gzip"
    base_scan_limit: int = 256


def build_image(
    workspace: Projects,
    base: str,
    destination: ImageDestination,
    options: ImageOptions | None = None,
    *,
    projects: Sequence[ScanRoot] | None = None,
) -> DeliveryResult:
    """Lay *workspace* over the image *base* and bring the result to *destination*.

    A file that changes between scan and packing starts it over, three times at most. *projects* are the sources of
    *workspace* where they have just been found.

    Raises:
        TopcoatError: one of its kinds, as `plan_image` and the destination's ``deliver`` say.
    """

    def attempt() -> DeliveryResult:
        nonlocal projects
        # Starting over, they are looked up anew: a listing that was kept would hide what has changed.
        given, projects = projects, None
        build = plan_image(workspace, base, destination, options, eager=True, projects=given)
        return destination.deliver(build, context_of(workspace))

    return until_settled(attempt)


def plan_image(
    workspace: Projects,
    base: str,
    destination: ImageDestination,
    options: ImageOptions | None = None,
    *,
    eager: bool = False,
    projects: Sequence[ScanRoot] | None = None,
) -> ImageBuild:
    """Scan *workspace*, look up *base* and name the image that they make; nothing is packed or sent.

    With *eager*, the destination may begin with what delivering needs, while the base is still being confirmed.
    *projects* are the sources of *workspace* where they have just been found.

    Raises:
        WorkspaceError: and its kinds, when the workspace cannot be read.
        ImageError: and its kinds, when the base cannot be used, or the workspace not be laid over it.
        RegistryError: and its kinds, when the registry cannot be reached or refuses.
    """
    options = options or ImageOptions()
    # A workspace that is not there is said before anybody is asked for the base.
    projects = find_scan_roots(workspace) if projects is None else projects
    if options.platform == ALL_PLATFORMS and not destination.takes_index:
        raise InvalidRunConfigException(
            "platform=all makes an image for every platform, and a container engine runs those of one",
            hint="push it to a registry with image_repo, or leave platform out for the engine's own",
        )
    stored = destination.stored_as(options.compression)
    found = destination.find_base(base, options.platform)
    looking = Task(lambda: _look(destination, found, options))
    try:
        scanned = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES, options.modes, options.mtimes), projects=projects)
    finally:
        looking.wait()
    build = _whole_build(destination, scanned, found, looking.result(), options, stored)
    if eager:
        destination.begin(build, context_of(workspace))
    confirmed = destination.confirm_base(found)
    if confirmed is found:
        return build
    return _whole_build(destination, scanned, confirmed, _look(destination, confirmed, options), options, stored)


def _look(destination: ImageDestination, base: Base, options: ImageOptions) -> list[CodeLocation]:
    """Find the place for the code in *base*, or in that of each platform."""
    owner = parse_chown(options.chown) if options.chown else None
    limit = options.base_scan_limit * MEGABYTE
    return [
        locate_code(destination, one, _workspace_dir(one, options).strip("/").encode(), owner, limit)
        for one in base.platforms or (base,)
    ]


def _whole_build(
    destination: ImageDestination,
    scanned: Scan,
    base: Base,
    grounds: list[CodeLocation],
    options: ImageOptions,
    compression: Compression,
) -> ImageBuild:
    """Plan the image over *base*, or one for each platform where all of an index is patched."""
    bases = base.platforms or (base,)
    for one, ground in zip(bases, grounds, strict=True):
        check_code_location(destination, one, ground, scanned.snapshot, options.base_scan_limit * MEGABYTE)
    for warning in dict.fromkeys(ground.warning for ground in grounds if ground.warning):
        notice(warning)
    variants = [
        _image_build(scanned, one, ground, options, compression) for one, ground in zip(bases, grounds, strict=True)
    ]
    if not base.platforms:
        return variants[0]
    # In whatever order the index lists them, they are the same images.
    decisive = canonical_json([_FORMAT, sorted(one.tag for one in variants)])
    tag = sha256_digest(decisive).removeprefix("sha256:")[:32]
    variants = [one._replace(tag=tag) for one in variants]
    return variants[0]._replace(base=base, variants=tuple(variants))


def _image_build(
    scanned: Scan, base: Base, ground: CodeLocation, options: ImageOptions, compression: Compression
) -> ImageBuild:
    snapshot = scanned.snapshot
    # Where the code is called to be, and where that is.
    directory, landing = _workspace_dir(base, options), ground.landing
    env = {"WORKSPACE_DIR": directory}
    if options.pythonpath:
        paths = [directory, *([f"{directory.rstrip('/')}/src"] if snapshot.has_directory(b"src") else [])]
        env["PYTHONPATH"] = ":".join([*paths, *filter(None, [base.config.env.get("PYTHONPATH")])])
    owner = parse_chown(options.chown)
    pack = PackOptions(landing.target, landing.parents, owner, options.mtimes == "preserve", compression)
    labels = {
        "dev.topcoat.snapshot": snapshot.digest,
        "dev.topcoat.base": base.config.identity,
        "dev.topcoat.target": "/" + landing.target.decode("utf-8", "backslashreplace"),
    }
    # Everything that decides the file system and the settings of the image, and nothing else.
    parents = [[parent.path.hex(), parent.mode, *parent.owner] for parent in landing.parents]
    decisive: list[object] = [_FORMAT, labels, list(owner), options.modes, options.mtimes, env, parents]
    if compression == "zstd":
        # The same file system, and yet not for every engine: whoever asks for gzip must not be given this image.
        decisive.append(compression)
    tag = sha256_digest(canonical_json(decisive)).removeprefix("sha256:")[:32]
    return ImageBuild(scanned, base, pack, Changes(directory, env, labels), tag, options.hot)


def _workspace_dir(base: Base, options: ImageOptions) -> str:
    if not options.workspace_dir:
        # A WORKDIR may be written in more than one way; an archive holds each path in one.
        return posixpath.normpath(base.config.working_dir)
    if not options.workspace_dir.startswith("/") or ".." in options.workspace_dir.split("/"):
        raise UsageError(
            f"workspace_dir must be an absolute directory of the image, not {options.workspace_dir!r}",
            hint="for example -cfg workspace_dir=/app",
        )
    return posixpath.normpath("/" + options.workspace_dir.strip("/"))


def parse_chown(text: str) -> Ownership:
    """Read ``uid[:gid]``; a lone uid stands for both, as in ``COPY --chown``.

    Raises:
        UsageError: not numbers. Names would need the image's own user database.
    """
    uid, colon, gid = text.partition(":")
    if not text:
        return Ownership()
    if not uid.isdecimal() or (colon and not gid.isdecimal()):
        raise UsageError(f"chown must be uid[:gid] in numbers, not {text!r}", hint="for example -cfg chown=1000:1000")
    return Ownership(int(uid), int(gid or uid))
