"""The pipeline: workspace, snapshot, chunks, layers, image, destination.

``plan_image`` reads and names, without side effects; ``build_image`` carries out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import NamedTuple

from topcoat.destinations.base import Base, Delivered, ImageBuild, ImageDestination
from topcoat.destinations.deliveries import context_of, until_settled
from topcoat.errors import UsageError
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.patch import Changes
from topcoat.pack.layer import Compression, PackOptions, default_parents
from topcoat.pack.tar import Ownership
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Modes, Mtimes, Scan, ScanOptions, scan
from topcoat.scan.sources import find_projects
from topcoat.specs.workspace import Workspace

# Part of every tag: it changes when the same inputs give another image.
_FORMAT = 1


class ImageOptions(NamedTuple):
    """What a user can decide about a patched image.

    Attributes:
        platform: which of the base's platforms; empty for the default one.
        workspace_dir: absolute directory for the code; empty for the base's WORKDIR.
        chown: numeric ``uid[:gid]`` of the code; empty for root.
        modes: ``portable`` or ``exact``.
        mtimes: ``content`` or ``preserve``.
        pythonpath: put the code before installed packages.
        hot: let edits travel in one small layer on top.
    """

    platform: str = ""
    workspace_dir: str = ""
    chown: str = ""
    modes: Modes = "portable"
    mtimes: Mtimes = "content"
    pythonpath: bool = True
    hot: bool = True


def build_image(
    workspace: Workspace,
    base: str,
    destination: ImageDestination,
    options: ImageOptions | None = None,
    *,
    notify: Callable[[str], None] = lambda text: None,
) -> Delivered:
    """Lay *workspace* over the image *base* and bring the result to *destination*.

    A file that changes between scan and packing starts it over, three times at most.

    Raises:
        TopcoatError: one of its kinds, as `plan_image` and the destination's ``deliver`` say.
    """
    told: set[str] = set()

    def attempt() -> Delivered:
        build = plan_image(workspace, base, destination, options, eager=True)
        for warning in build.scan.warnings:
            if warning not in told:
                notify(warning)
                told.add(warning)
        return destination.deliver(build, context_of(workspace))

    return until_settled(attempt)


def plan_image(
    workspace: Workspace,
    base: str,
    destination: ImageDestination,
    options: ImageOptions | None = None,
    *,
    eager: bool = False,
) -> ImageBuild:
    """Scan *workspace*, look up *base* and name the image that they make; nothing is packed or sent.

    With *eager*, the destination may begin with what delivering needs, while the base is still being confirmed.

    Raises:
        WorkspaceError: and its kinds, when the workspace cannot be read.
        ImageError: and its kinds, when the base cannot be used.
        RegistryError: and its kinds, when the registry cannot be reached or refuses.
    """
    options = options or ImageOptions()
    # A workspace that is not there is said before anybody is asked for the base.
    find_projects(workspace)
    found = destination.find_base(base, options.platform)
    scanned = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES, options.modes, options.mtimes))
    build = _image_build(scanned, found, options, destination.compression)
    if eager:
        destination.begin(build, context_of(workspace))
    confirmed = destination.confirm_base(found)
    return build if confirmed is found else _image_build(scanned, confirmed, options, destination.compression)


def _image_build(scanned: Scan, base: Base, options: ImageOptions, compression: Compression) -> ImageBuild:
    snapshot = scanned.snapshot
    directory = _workspace_dir(base, options)
    target = directory.strip("/").encode()
    env = {"WORKSPACE_DIR": directory}
    if options.pythonpath:
        paths = [directory, *([f"{directory.rstrip('/')}/src"] if snapshot.has_directory(b"src") else [])]
        env["PYTHONPATH"] = ":".join([*paths, *filter(None, [base.config.env.get("PYTHONPATH")])])
    owner = parse_chown(options.chown)
    pack = PackOptions(target, default_parents(target), owner, options.mtimes == "preserve", compression)
    labels = {
        "dev.topcoat.snapshot": snapshot.digest,
        "dev.topcoat.base": base.config.identity,
        "dev.topcoat.target": directory,
    }
    # Everything that decides the file system and the settings of the image, and nothing else.
    decisive = [_FORMAT, labels, list(owner), options.modes, options.mtimes, env]
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
