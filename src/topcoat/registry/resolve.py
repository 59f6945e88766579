"""Resolve an image name to the manifest and config of one platform."""

from __future__ import annotations

from typing import NamedTuple

from topcoat.errors import InvalidImage
from topcoat.foreign_text import parse_json
from topcoat.oci.manifest import CONFIG_TYPES, Index, Manifest, no_such_platform, parse
from topcoat.oci.mismatch import invalid_image
from topcoat.oci.platform import Platform
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient

MAX_NESTED = 3
_MAX_CONFIG_BYTES = 64 * 2**20


class ResolvedImage(NamedTuple):
    """An image of a registry, pinned.

    Attributes:
        reference: as requested.
        digest: of what the name refers to, an index or a manifest.
        manifest_digest: of the platform's manifest.
        manifest: of the platform.
        config: the verified bytes of the image config.
        platform: as the config states it.
    """

    reference: Reference
    digest: str
    manifest_digest: str
    manifest: Manifest
    config: bytes
    platform: Platform


def resolve(client: RegistryClient, reference: Reference, platform: Platform | None) -> ResolvedImage:
    """Resolve *reference* in its registry, with two requests, three for an index. No layer is read.

    Args:
        client: of the reference's registry.
        reference: the image.
        platform: that the job needs; None selects linux/amd64 if available, else the only platform.

    Raises:
        ImageNotFound: the registry has no such image.
        NoSuchPlatform: lists the available platforms.
        InvalidImage: not a container image, or a broken one.
    """
    repository = reference.repository
    top, data = client.get_manifest(repository, reference.identifier)
    document, digest, wanted = parse(data, top.media_type), top.digest, platform
    for _ in range(MAX_NESTED):
        if isinstance(document, Manifest):
            break
        entry = document.select(platform)
        stated = Platform.from_json(entry.extra.get("platform"))
        if wanted is None and stated.known:
            wanted = stated
        child, data = client.get_manifest(repository, entry.digest)
        document, digest = parse(data, entry.media_type), child.digest
    if isinstance(document, Index):
        raise InvalidImage(f"{reference} is an index of indexes, nested more than {MAX_NESTED} deep")
    config = read_config(client, reference, document)
    actual = Platform.from_json(parse_json(config))
    # The index selected by platform already; a config without a platform cannot contradict it.
    if platform is not None and actual.known and not Platform(*platform[:2]).matches(actual):
        raise no_such_platform(platform, [actual])
    return ResolvedImage(reference, top.digest, digest, document, config, actual if actual.known else wanted or actual)


def read_config(client: RegistryClient, reference: Reference, manifest: Manifest) -> bytes:
    """Read the config of the image *manifest* and validate both as a base; minor mismatches are accepted.

    Raises:
        InvalidImage: not a container image, or a broken one; lists all mismatches.
    """
    if manifest.config.media_type not in CONFIG_TYPES:
        raise InvalidImage(
            f"{reference} is not a container image: its config has the media type {manifest.config.media_type}",
            hint="name an image that docker run could start",
        )
    if manifest.config.size > _MAX_CONFIG_BYTES:
        raise InvalidImage(f"the config of {reference} is larger than {_MAX_CONFIG_BYTES} bytes")
    config = client.get_blob(reference.repository, manifest.config)
    from topcoat.oci.validate import find_mismatches

    assert manifest.raw is not None
    mismatches = find_mismatches(manifest.raw, config, media_type=manifest.media_type)
    if any(mismatch.fatal for mismatch in mismatches):
        raise invalid_image(str(reference), mismatches)
    return config
