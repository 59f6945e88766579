"""From an image name to the manifest and config of one platform."""

from __future__ import annotations

import json
from typing import NamedTuple

from topcoat.errors import InvalidImage
from topcoat.oci.manifest import CONFIG_TYPES, Index, Manifest, no_such_platform, parse
from topcoat.oci.mismatch import invalid_image
from topcoat.oci.platform import Platform
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient

MOST_NESTED = 3
_MOST_CONFIG_BYTES = 64 * 2**20


class ResolvedImage(NamedTuple):
    """An image of a registry, pinned.

    Attributes:
        reference: what was asked for.
        digest: what the name refers to; that of the index where it is one.
        manifest_digest: that of the platform's manifest.
        manifest: of the platform.
        config: the image config's bytes, checked.
        platform: that the config states.
    """

    reference: Reference
    digest: str
    manifest_digest: str
    manifest: Manifest
    config: bytes
    platform: Platform


def resolve(client: RegistryClient, reference: Reference, platform: Platform | None) -> ResolvedImage:
    """Ask the registry what *reference* is; two requests, three for an index. No layer is read.

    Args:
        client: of the reference's registry.
        reference: the image.
        platform: that the job needs; None takes linux/amd64 where there is an image for it, else the only one.

    Raises:
        ImageNotFound: no such image.
        NoSuchPlatform: lists what there is.
        InvalidImage: it is not a container image, or a broken one.
    """
    repository = reference.repository
    top, data = client.get_manifest(repository, reference.identifier)
    found, digest, wanted = parse(data, top.media_type), top.digest, platform
    for _ in range(MOST_NESTED):
        if isinstance(found, Manifest):
            break
        entry = found.select(platform)
        stated = Platform.from_json(entry.extra.get("platform"))
        if wanted is None and stated.known:
            wanted = stated
        child, data = client.get_manifest(repository, entry.digest)
        found, digest = parse(data, entry.media_type), child.digest
    if isinstance(found, Index):
        raise InvalidImage(f"{reference} is an index of indexes, nested more than {MOST_NESTED} deep")
    config = read_config(client, reference, found)
    actual = Platform.from_json(json.loads(config))
    # What an index says of an entry has been obeyed already; a config that says nothing cannot object.
    if platform is not None and actual.known and not Platform(*platform[:2]).matches(actual):
        raise no_such_platform(platform, [actual])
    return ResolvedImage(reference, top.digest, digest, found, config, actual if actual.known else wanted or actual)


def read_config(client: RegistryClient, reference: Reference, manifest: Manifest) -> bytes:
    """Read the config of the image *manifest*, and refuse what nothing can be laid over.

    Raises:
        InvalidImage: it is not a container image, or a broken one: with all that is wrong with it.
    """
    if manifest.config.media_type not in CONFIG_TYPES:
        raise InvalidImage(
            f"{reference} is not a container image: its config is of type {manifest.config.media_type}",
            hint="name an image that docker run could start",
        )
    if manifest.config.size > _MOST_CONFIG_BYTES:
        raise InvalidImage(f"the config of {reference} has {manifest.config.size} bytes")
    config = client.get_blob(reference.repository, manifest.config)
    _check(reference, manifest, config)
    return config


def _check(reference: Reference, manifest: Manifest, config: bytes) -> None:
    """Refuse a base that nothing right can be laid over; what is merely sloppy will do.

    Raises:
        InvalidImage: lists everything that is wrong with it.
    """
    from topcoat.oci.validate import find_mismatches

    assert manifest.raw is not None
    found = find_mismatches(manifest.raw, config, media_type=manifest.media_type)
    if any(one.fatal for one in found):
        raise invalid_image(str(reference), found)
