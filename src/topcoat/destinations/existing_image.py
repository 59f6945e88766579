"""Look at what a tag of a registry refers to: a tag that exists is believed only if its image is the expected one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from topcoat.destinations.image_labels import check_labels
from topcoat.errors import ImageNotFound, InvalidImage
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import Index, Manifest, is_foreign, parse
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient
from topcoat.tasks import run_all

_MAX_CONFIG_BYTES = 64 * 2**20


class ExistingImage(NamedTuple):
    """What a tag refers to.

    Attributes:
        digest: of its manifest or index.
        blobs: digests of the configs and layers that its registry has.
        missing: digests of the manifests, configs and layers that its registry has lost.
        is_confirmed: whether it is known to be the expected image; False if a config whose labels tell is lost.
    """

    digest: str
    blobs: frozenset[str]
    missing: frozenset[str]
    is_confirmed: bool


def read_existing(
    client: RegistryClient, target: Reference, labels: Sequence[Mapping[str, str]] = (), remembered: str = ""
) -> ExistingImage | None:
    """Read the image at the tag of *target*, and ask for each of its blobs; None if the tag does not exist.

    Args:
        client: of the registry.
        target: a name with a tag.
        labels: that the config of each of its images must have, in the order of its index; empty for any image.
        remembered: digest of the image that this machine knows to be right; the labels of others are compared.

    Raises:
        TagMoved: the labels differ.
    """
    repository = target.repository
    try:
        top, data = client.get_manifest(repository, target.tag)
    except ImageNotFound:
        return None
    document = parse(data, top.media_type)
    entries = document.manifests if isinstance(document, Index) else ()
    labels = () if top.digest == remembered else labels
    if labels and len(entries or (document,)) != len(labels):
        check_labels(str(target), top.digest, None, labels[0], remembered)
    children = [_read_manifest(client, repository, entry) for entry in entries]
    is_confirmed = True
    manifests = [document] if isinstance(document, Manifest) else children
    for manifest, expected in zip(manifests, labels, strict=False):
        config = _read_config(client, repository, manifest.config) if manifest else None
        if config is None:
            is_confirmed = False
        else:
            check_labels(str(target), top.digest, config.get("Labels"), expected, remembered)
    lost = {entry.digest for entry, child in zip(entries, children, strict=True) if child is None}
    blobs = {blob.digest: blob for manifest in manifests if manifest for blob in _blobs(manifest)}
    missing = missing_blobs(client, repository, list(blobs.values()))
    return ExistingImage(top.digest, frozenset(blobs) - missing, missing | lost, is_confirmed)


def missing_blobs(client: RegistryClient, repository: str, blobs: Sequence[Descriptor]) -> frozenset[str]:
    """Return the digests of *blobs* that *repository* does not have."""
    answers = run_all([partial(client.has_blob, repository, blob) for blob in blobs])
    return frozenset(blob.digest for blob, exists in zip(blobs, answers, strict=True) if not exists)


def _blobs(manifest: Manifest) -> list[Descriptor]:
    return [manifest.config, *(layer for layer in manifest.layers if not is_foreign(layer))]


def _read_manifest(client: RegistryClient, repository: str, entry: Descriptor) -> Manifest | None:
    try:
        child, data = client.get_manifest(repository, entry.digest)
    except ImageNotFound:
        return None
    document = parse(data, entry.media_type or child.media_type)
    return document if isinstance(document, Manifest) else None


def _read_config(client: RegistryClient, repository: str, config: Descriptor) -> Mapping[str, object] | None:
    """Return the settings in an image config, none if it is not one; None if the registry has lost it."""
    if config.size > _MAX_CONFIG_BYTES:
        return {}
    try:
        return ImageConfig.parse(client.get_blob(repository, config)).settings
    except ImageNotFound:
        return None
    except InvalidImage:
        return {}
