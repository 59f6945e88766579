"""The run options of image workspaces, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from topcoat.errors import InvalidRunConfigException
from topcoat.images.build import ImageOptions
from topcoat.oci.compression import Compression
from topcoat.oci.reference import Reference
from topcoat.scan.scanner import Modes, Mtimes
from topcoat.specs.cfg import one_of

if TYPE_CHECKING:
    from topcoat.specs import CfgVal, runopts


def image_opts() -> runopts:
    """Return the run options that decide about a patched image."""
    # Most builds are given none of them, and need neither this nor the dataclasses that it brings.
    from topcoat.specs import runopts

    opts = runopts()
    opts.add(
        "image_repo",
        type_=str,
        default=None,
        help="repository to push the patched image to, such as registry.example.com/team/app",
    )
    opts.add("quiet", type_=bool, default=False, help="say nothing while images are built and pushed")
    opts.add(
        "platform",
        type_=str,
        default=None,
        help="platform of the base image, such as linux/arm64; all: an image for each platform of the base (but "
        "Windows), under one tag, in a registry; a base for one platform gives a plain image, as without this option",
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
        help="content: dates that follow from a file's content; preserve: the files' own dates",
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
        help="MB of the base to read, once, for what is where the code goes (its directories, links); 0: do not look",
    )
    opts.add(
        "build_args", type_=dict[str, str], default=None, help="build arguments for Dockerfile.torchx, as k:v,k2:v2"
    )
    opts.add("rebuild", type_=bool, default=False, help="have a builder build anew what it built already")
    return opts


def build_args(cfg: Mapping[str, CfgVal]) -> dict[str, str]:
    """Return the build arguments that *cfg* gives.

    Raises:
        InvalidRunConfigException: not a mapping of strings.
    """
    value = cfg.get("build_args") or {}
    if not isinstance(value, dict):
        raise InvalidRunConfigException(f"build_args is {value!r}", hint="-cfg build_args=NAME:VALUE,NAME2:VALUE2")
    return {str(key): str(text) for key, text in value.items()}


def image_options(cfg: Mapping[str, CfgVal]) -> ImageOptions:
    """Read the options out of *cfg*; what is absent has its default.

    Raises:
        InvalidRunConfigException: a value that an option does not take.
    """
    return ImageOptions(
        platform=_text(cfg, "platform"),
        workspace_dir=_text(cfg, "workspace_dir"),
        chown=_text(cfg, "chown"),
        modes=cast(Modes, one_of(cfg, "modes", ("portable", "exact"))),
        mtimes=cast(Mtimes, one_of(cfg, "mtime", ("content", "preserve"))),
        pythonpath=_flag(cfg, "pythonpath"),
        hot=_flag(cfg, "hot"),
        compression=cast(Compression, one_of(cfg, "compression", ("gzip", "zstd"))),
        base_scan_limit=_megabytes(cfg, "base_scan_limit"),
    )


def image_repository(cfg: Mapping[str, CfgVal]) -> Reference | None:
    """Return the repository that ``image_repo`` names, None where it is not set.

    Raises:
        InvalidRunConfigException: it carries a tag or a digest; the tag is topcoat's to give.
        InvalidReference: it is not a repository.
    """
    text = _text(cfg, "image_repo")
    if not text:
        return None
    reference = Reference.parse(text)
    if reference.digest or text.endswith(f":{reference.tag}"):
        raise InvalidRunConfigException(
            f"image_repo is {text!r}: it names a repository, and the tag is made from the content",
            hint=f"image_repo={reference.name}",
        )
    return reference


def _text(cfg: Mapping[str, CfgVal], key: str) -> str:
    return str(cfg.get(key) or "")


def _megabytes(cfg: Mapping[str, CfgVal], key: str) -> int:
    value = cfg.get(key)
    if value is None:
        return ImageOptions().base_scan_limit
    if not isinstance(value, int) or value < 0:
        raise InvalidRunConfigException(f"{key} is {value!r}, and not a number of MB", hint=f"-cfg {key}=256")
    return value


def _flag(cfg: Mapping[str, CfgVal], key: str) -> bool:
    value = cfg.get(key)
    return True if value is None else bool(value)
