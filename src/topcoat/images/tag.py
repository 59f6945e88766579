"""The tag of an image, made from everything that decides its content, and the labels that say what that was.

One tag means one image: the same file system, the same settings, and layers that are compressed alike. Whatever
changes one of these changes the tag, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from topcoat.bases.base import Base
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.patch import Changes
from topcoat.pack.layer import PackOptions

VERSION_LABEL = "dev.topcoat.version"
SNAPSHOT_LABEL = "dev.topcoat.snapshot"
BASE_LABEL = "dev.topcoat.base"
TARGET_LABEL = "dev.topcoat.target"
LAYERS_LABEL = "dev.topcoat.layers"
IDENTITY_LABEL = "dev.topcoat.identity"
"""The tag that an image has because of its content; it stays if the image is tagged otherwise."""

# Part of every tag. Increase it when the same inputs give another image.
_FORMAT = 3


def image_labels(snapshot: str, base: Base, target: bytes) -> dict[str, str]:
    """Return the labels of an image: the digests of its parts, and the directory of the code."""
    return {
        SNAPSHOT_LABEL: snapshot,
        BASE_LABEL: base.config.identity,
        TARGET_LABEL: "/" + target.decode("utf-8", "backslashreplace"),
    }


def with_identity(changes: Changes, tag: str) -> Changes:
    """Return *changes* with the label that names the image's own *tag*, of which labels are not a part."""
    return changes._replace(labels={**changes.labels, IDENTITY_LABEL: tag})


def built_labels(snapshot: str, tag: str) -> dict[str, str]:
    """Return the labels of an image that a builder makes of the context *snapshot*."""
    return {SNAPSHOT_LABEL: snapshot, IDENTITY_LABEL: tag}


def patch_tag(snapshot: str, base: Base, pack: PackOptions, changes: Changes) -> str:
    """Return the tag of code layers over *base*.

    Args:
        snapshot: digest of what the code layers hold.
        base: the image below them.
        pack: how they are packed. Layers that an engine stores are not compressed (``none``), the base's included.
        changes: the changes to the base's settings; their labels follow from the other arguments.
    """
    parents = [[parent.path.hex(), parent.mode, *parent.owner] for parent in pack.parents]
    layers = [pack.target.hex(), list(pack.owner), parents, pack.preserve_mtimes, pack.compression]
    settings = [changes.working_dir, dict(changes.env), dict(changes.settings), changes.author]
    stored = [] if pack.compression == "none" else compressions(base)
    return _tag("patch", snapshot, base.config.identity, stored, layers, settings)


def built_tag(
    snapshot: str, dockerfile: bytes, args: Mapping[str, str], platform: str, bases: Iterable[list[object]]
) -> str:
    """Return the tag of what a builder makes of a Dockerfile.

    Args:
        snapshot: digest of the build context.
        dockerfile: its text.
        args: the build arguments that it is given.
        platform: that it is built for.
        bases: `base_tag_inputs` of the images that it starts from or copies from.
    """
    return _tag("built", snapshot, sha256_digest(dockerfile), dict(args), platform, list(bases))


def base_tag_inputs(base: Base) -> list[object]:
    """Return what stands for *base* in the tag of an image that a builder makes of it."""
    return [base.config.identity, *compressions(base)]


def index_tag(tags: Iterable[str]) -> str:
    """Return the tag of an index whose images have *tags*; their order does not matter."""
    return _tag("index", sorted(tags))


def compressions(base: Base) -> list[str]:
    """Return how the registry of the patched image stores each layer of *base*: ``gzip``, ``zstd`` or ``none``.

    A base that is pushed anew with other compression keeps its diff ids and its config.
    """
    if base.engine_id:
        # Layers are exported from an engine as gzip, whatever the engine stores.
        return ["gzip"] * len(base.config.diff_ids)
    return [_compression(layer.media_type) for layer in base.manifest.layers]


def _compression(media_type: str) -> str:
    if media_type.endswith(("+zstd", ".zstd")):
        return "zstd"
    return "gzip" if media_type.endswith(("+gzip", ".gzip")) else "none"


def _tag(*inputs: object) -> str:
    return sha256_digest(canonical_json([_FORMAT, *inputs])).removeprefix("sha256:")[:32]
