"""The run options of image workspaces, parsed into typed values with their limits."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

from topcoat.bases.base import ALL_PLATFORMS
from topcoat.errors import InvalidRunConfigException, UsageError
from topcoat.oci.compression import Compression
from topcoat.oci.platform import Platform
from topcoat.oci.reference import Reference
from topcoat.pack.tar import Ownership
from topcoat.scan.names import is_unicode
from topcoat.scan.scanner import Modes, Mtimes
from topcoat.specs.cfg import one_of

if TYPE_CHECKING:
    from topcoat.specs import CfgVal, runopts

# The highest id of POSIX's 32 bits stands for "no id" in chown(2).
_MAX_ID = 2**32 - 2


class ImageOptions(NamedTuple):
    """What a user can decide about an image; `image_options` makes them from run options.

    Attributes:
        repository: to push to; None for the container engine.
        platform: ``os/architecture[/variant]``, ``all``, or empty for the default one.
        workspace_dir: absolute, normalised directory for the code; empty for the base's WORKDIR.
        owner: of the code; None for root.
        modes: ``portable`` or ``exact``.
        mtimes: ``content`` or ``preserve``.
        pythonpath: put the code before installed packages.
        hot: carry small edits in one layer on top.
        compression: of code layers in a registry.
        base_scan_limit: how many MB of the base's layers may be read to look up the code's directory; 0 reads nothing.
        build_args: for ``Dockerfile.torchx``.
        rebuild: build and push again, also over a tag that refers to another image.
        verify: ask the registry for every blob of the image, and send those that it has lost.
        create_repository: create the repository in Amazon ECR if it is missing.
        quiet: print no build output.
    """

    repository: Reference | None = None
    platform: str = ""
    workspace_dir: str = ""
    owner: Ownership | None = None
    modes: Modes = "portable"
    mtimes: Mtimes = "content"
    pythonpath: bool = True
    hot: bool = True
    compression: Compression = "gzip"
    base_scan_limit: int = 256
    build_args: Mapping[str, str] = MappingProxyType({})
    rebuild: bool = False
    verify: bool = False
    create_repository: bool = False
    quiet: bool = False


def image_opts() -> runopts:
    """Return the run options of image workspaces."""
    # Most builds are given none of them, and need neither this import nor the dataclasses that it brings.
    from topcoat.specs import runopts

    opts = runopts()
    opts.add(
        "image_repo",
        type_=str,
        default=None,
        help="repository to push the patched image to, such as registry.example.com/team/app",
    )
    opts.add("quiet", type_=bool, default=False, help="print no output while images are built and pushed")
    opts.add(
        "platform",
        type_=str,
        default=None,
        help="platform of the base image, such as linux/arm64; all: every platform of the base except Windows, under "
        "one tag, in a registry (a base for one platform gives a plain image)",
    )
    opts.add(
        "workspace_dir", type_=str, default=None, help="absolute directory for the code (default: the image's WORKDIR)"
    )
    opts.add("chown", type_=str, default=None, help="numeric uid[:gid] that owns the code (default: 0:0)")
    opts.add(
        "modes",
        type_=str,
        default="portable",
        help="portable: files 0644 or 0755, directories 0755; exact: permission bits as they are",
    )
    opts.add(
        "mtime",
        type_=str,
        default="content",
        help="content: dates derived from each file's content; preserve: the files' own dates",
    )
    opts.add("pythonpath", type_=bool, default=True, help="put the code, and its src/, before installed packages")
    opts.add("hot", type_=bool, default=True, help="carry small edits in one layer on top")
    opts.add(
        "compression",
        type_=str,
        default="gzip",
        help="gzip; zstd: smaller layers in a registry, for Docker 23, containerd 1.5, Podman and newer ones only",
    )
    opts.add(
        "base_scan_limit",
        type_=int,
        default=256,
        help="MB of the base to read, once, to look up the directory that the code goes to; 0: read nothing",
    )
    opts.add(
        "build_args", type_=dict[str, str], default=None, help="build arguments for Dockerfile.torchx, as k:v,k2:v2"
    )
    opts.add(
        "rebuild",
        type_=bool,
        default=False,
        help="build and push again what exists already, also over a tag that refers to another image",
    )
    opts.add(
        "verify",
        type_=bool,
        default=False,
        help="ask the registry of image_repo for every blob of the image, and send those that it has lost",
    )
    opts.add(
        "create_repository", type_=bool, default=False, help="create the repository in Amazon ECR if it is missing"
    )
    return opts


def image_options(cfg: Mapping[str, CfgVal]) -> ImageOptions:
    """Parse the options in *cfg*; absent ones have their defaults.

    Raises:
        InvalidRunConfigException: an invalid value.
        InvalidReference: ``image_repo`` is not a repository.
    """
    options = ImageOptions(
        repository=_repository(_text(cfg, "image_repo")),
        platform=_platform(_text(cfg, "platform")),
        workspace_dir=_workspace_dir(_text(cfg, "workspace_dir")),
        owner=_owner(_text(cfg, "chown")),
        modes=cast(Modes, one_of(cfg, "modes", ("portable", "exact"))),
        mtimes=cast(Mtimes, one_of(cfg, "mtime", ("content", "preserve"))),
        pythonpath=_flag(cfg, "pythonpath", default=True),
        hot=_flag(cfg, "hot", default=True),
        compression=cast(Compression, one_of(cfg, "compression", ("gzip", "zstd"))),
        base_scan_limit=_megabytes(cfg.get("base_scan_limit")),
        build_args=_build_args(cfg.get("build_args") or {}),
        rebuild=_flag(cfg, "rebuild", default=False),
        verify=_flag(cfg, "verify", default=False),
        create_repository=_flag(cfg, "create_repository", default=False),
        quiet=_flag(cfg, "quiet", default=False),
    )
    if options.verify and options.repository is None:
        raise InvalidRunConfigException(
            "verify asks a registry for the blobs of an image, and no registry is named",
            "verify",
            hint="-cfg image_repo=REGISTRY/REPOSITORY, or leave verify out: a container engine keeps its images whole",
        )
    return options


def _text(cfg: Mapping[str, CfgVal], key: str) -> str:
    return str(cfg.get(key) or "")


def _flag(cfg: Mapping[str, CfgVal], key: str, *, default: bool) -> bool:
    value = cfg.get(key)
    return default if value is None else bool(value)


def _repository(text: str) -> Reference | None:
    if not text:
        return None
    host, _, port = text.partition(":")
    if "/" not in text and ("." in host or host == "localhost" or port.isdecimal()):
        # Docker would take it for a name on Docker Hub.
        raise InvalidRunConfigException(
            f"invalid image_repo {text!r}: a registry without a repository",
            "image_repo",
            hint=f"image_repo={text}/NAME",
        )
    reference = Reference.parse(text)
    if reference.digest or text.endswith(f":{reference.tag}"):
        raise InvalidRunConfigException(
            f"invalid image_repo {text!r}: expected a repository without tag or digest; topcoat makes the tag from the "
            "content",
            "image_repo",
            hint=f"image_repo={reference.name}",
        )
    return reference


def _platform(text: str) -> str:
    if text in ("", ALL_PLATFORMS):
        return text
    try:
        return str(Platform.parse(text))
    except UsageError as error:
        raise InvalidRunConfigException(error.message, "platform", hint=error.hint) from None


def _workspace_dir(text: str) -> str:
    if not text:
        return ""
    if not text.startswith("/") or ".." in text.split("/") or not is_unicode(text):
        raise InvalidRunConfigException(
            f"invalid workspace_dir {text!r}: expected an absolute directory of the image",
            "workspace_dir",
            hint="for example -cfg workspace_dir=/app",
        )
    return posixpath.normpath("/" + text.strip("/"))


def _owner(text: str) -> Ownership | None:
    """Parse ``uid[:gid]``; the gid defaults to the uid, as in ``COPY --chown``."""
    if not text:
        return None
    uid, colon, gid = text.partition(":")
    numbers = [uid, gid] if colon else [uid, uid]
    if not all(number.isascii() and number.isdecimal() and int(number) <= _MAX_ID for number in numbers):
        raise InvalidRunConfigException(
            f"invalid chown {text!r}: expected uid[:gid], each a number from 0 to {_MAX_ID}",
            "chown",
            hint="for example -cfg chown=1000:1000",
        )
    return Ownership(*map(int, numbers))


def _megabytes(value: CfgVal) -> int:
    if value is None:
        return ImageOptions().base_scan_limit
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidRunConfigException(
            f"invalid base_scan_limit {value!r}: expected an integer number of MB >= 0",
            "base_scan_limit",
            hint="-cfg base_scan_limit=256",
        )
    return value


def _build_args(value: CfgVal) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidRunConfigException(
            f"invalid build_args {value!r}: expected names and values",
            "build_args",
            hint="-cfg build_args=NAME:VALUE,NAME2:VALUE2",
        )
    return {str(name): str(text) for name, text in value.items()}
