"""Patch a base image: add code layers, which makes a new config and a new manifest in the base's flavour.

Docker's flavour has no media type for zstd. With zstd layers, manifest and config become OCI's, and the base's layers
keep their descriptors: every engine accepts Docker's layer types in an OCI manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from topcoat.oci.compression import Compression
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import NOTHING, Descriptor
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Manifest,
)
from topcoat.oci.repair import repair_annotations, repair_history, repair_layers

_OCI_LAYERS = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}
_DOCKER_LAYERS = {"none": DOCKER_LAYER, "gzip": DOCKER_LAYER_GZIP}


class CodeLayer(NamedTuple):
    """A code layer: digest of its tar, digest and size as stored, and its compression."""

    diff_id: str
    digest: str
    size: int
    compression: Compression = "gzip"


class Changes(NamedTuple):
    """The changes of an image's config besides its layers.

    Attributes:
        working_dir: absolute working directory.
        env: variables to add.
        labels: labels to add.
        settings: keys of the ``config`` object and their values, None to remove one. They override *working_dir* and
            *env*; *labels* are added to their ``Labels``.
        author: of the image; None to keep the base's.
    """

    working_dir: str
    env: Mapping[str, str]
    labels: Mapping[str, str]
    settings: Mapping[str, Any] = NOTHING
    author: str | None = None


class PatchedImage(NamedTuple):
    """A patched image: the bytes of its config and manifest, the manifest's media type and the config's descriptor."""

    config: bytes
    manifest: bytes
    media_type: str
    descriptor: Descriptor

    @property
    def image_id(self) -> str:
        """Digest of the config: the id of the image in classic engines and in TorchX."""
        return sha256_digest(self.config)

    @property
    def digest(self) -> str:
        """Digest of the manifest: the id of the image in registries."""
        return sha256_digest(self.manifest)


def patch(config: ImageConfig, manifest: Manifest, layers: Sequence[CodeLayer], changes: Changes) -> PatchedImage:
    """Return the image that adds *layers* to the base image of this *config* and *manifest*.

    Unknown keys of the base's config and the descriptors of its layers do not change, except for what is wrong with
    them: see `repair`.
    """
    data = canonical_json(_config(config, layers, changes))
    needs_oci = manifest.is_oci or any(layer.compression == "zstd" for layer in layers)
    base_layers, oci = repair_layers(manifest.layers, oci=needs_oci)
    media_type = OCI_MANIFEST if oci else manifest.media_type
    descriptor = Descriptor(OCI_CONFIG if oci else DOCKER_CONFIG, sha256_digest(data), len(data))
    types = _OCI_LAYERS if oci else _DOCKER_LAYERS
    added = [Descriptor(types[layer.compression], layer.digest, layer.size) for layer in layers]
    stacked = [*base_layers, *added]
    annotations = repair_annotations(manifest.annotations) if manifest.is_oci else NOTHING
    built = Manifest.build(media_type=media_type, config=descriptor, layers=stacked, annotations=annotations)
    return PatchedImage(data, built, media_type, descriptor)


def _config(base: ImageConfig, layers: Sequence[CodeLayer], changes: Changes) -> dict[str, Any]:
    document = dict(base.complete(base.platform).document)
    diff_ids = [*base.diff_ids, *(layer.diff_id for layer in layers)]
    document["rootfs"] = {**document["rootfs"], "type": "layers", "diff_ids": diff_ids}
    # One step for each layer, or no history: tools that read a history expect every layer in it.
    history = repair_history(document.pop("history", None), len(base.diff_ids))
    if history is not None:
        steps = [{"created_by": "topcoat", "comment": f"code layer {layer.diff_id}"} for layer in layers]
        document["history"] = [*history, *steps]
    settings = dict(base.settings)
    settings["WorkingDir"] = changes.working_dir
    settings["Env"] = [f"{name}={value}" for name, value in {**base.env, **changes.env}.items()]
    settings.update(changes.settings)
    settings = {key: value for key, value in settings.items() if value is not None or key not in changes.settings}
    labels = settings.get("Labels")
    settings["Labels"] = {**(labels if isinstance(labels, dict) else {}), **changes.labels}
    document["config"] = settings
    if changes.author is not None:
        document["author"] = changes.author
    return document
