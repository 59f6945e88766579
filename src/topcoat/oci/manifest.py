"""Manifests and indexes, in Docker's flavour and in OCI's.

The bytes of a manifest are its identity, so a parsed one keeps them. Its flavour is that of the document's own
``mediaType`` (which the digest covers), else of the Content-Type that it came with, else of its keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from topcoat.errors import InvalidImage, NoSuchPlatform
from topcoat.foreign_text import parse_json
from topcoat.oci.descriptor import NOTHING, Descriptor
from topcoat.oci.digest import canonical_json
from topcoat.oci.platform import DEFAULT_PLATFORM, Platform

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"

MANIFEST_TYPES = frozenset({DOCKER_MANIFEST, OCI_MANIFEST})
INDEX_TYPES = frozenset({DOCKER_INDEX, OCI_INDEX})
CONFIG_TYPES = frozenset({DOCKER_CONFIG, OCI_CONFIG})
OCI_LAYER_TYPES = frozenset(f"{kind}{how}" for kind in (OCI_LAYER, OCI_FOREIGN_LAYER) for how in ("", "+gzip", "+zstd"))
DOCKER_LAYER_TYPES = frozenset({DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_FOREIGN_LAYER})
# Docker takes an image with one of these: registries have stored images so.
_VAGUE_CONFIG_TYPES = frozenset({"application/octet-stream", "application/json", "text/html"})
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
"""The Accept header for registries; without it, old ones respond in the format of 2014 (schema 1)."""

_ATTESTATION = "vnd.docker.reference.type"


class Manifest(NamedTuple):
    """One image for one platform: its config and its layers.

    Attributes:
        media_type: ``DOCKER_MANIFEST`` or ``OCI_MANIFEST``.
        layers: bottom first.
        annotations: OCI only.
        raw: the bytes as stored, which have the digest; None for a manifest that was not parsed.
    """

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, object] = NOTHING
    raw: bytes | None = None

    @property
    def is_oci(self) -> bool:
        """Whether this is OCI's flavour, which has annotations and zstd, rather than Docker's."""
        return self.media_type == OCI_MANIFEST

    @staticmethod
    def build(
        *,
        media_type: str,
        config: Descriptor,
        layers: Iterable[Descriptor],
        annotations: Mapping[str, object] = NOTHING,
    ) -> bytes:
        """Return the canonical bytes; raise ``InvalidImage`` for annotations in Docker's flavour, which has none."""
        parts: dict[str, object] = {"config": config.to_json(), "layers": [layer.to_json() for layer in layers]}
        return _build(media_type, parts, annotations)


class Index(NamedTuple):
    """A list of manifests, one for each platform.

    Attributes:
        media_type: ``DOCKER_INDEX`` or ``OCI_INDEX``.
        manifests: in the order of the document, attestations included.
        annotations: OCI only.
        raw: the bytes as stored, which have the digest; None for an index that was not parsed.
    """

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, object] = NOTHING
    raw: bytes | None = None

    @property
    def images(self) -> tuple[tuple[Platform, Descriptor], ...]:
        """The entries that are images, with their platforms; without attestations."""
        return tuple(
            (Platform.from_json(entry.extra.get("platform")), entry)
            for entry in self.manifests
            if _ATTESTATION not in entry.annotations and not _states_unknown(entry)
        )

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms of the images, each once, in the order of the document."""
        return tuple(dict.fromkeys(platform for platform, _ in self.images))

    @staticmethod
    def build(
        *, media_type: str, manifests: Iterable[Descriptor], annotations: Mapping[str, object] = NOTHING
    ) -> bytes:
        """Return the canonical bytes; raise ``InvalidImage`` for annotations in Docker's flavour, which has none."""
        return _build(media_type, {"manifests": [entry.to_json() for entry in manifests]}, annotations)

    def select(self, platform: Platform | None = None) -> Descriptor:
        """Return the entry for *platform*; without a platform, the one for linux/amd64, else the only one.

        An entry with the same variant wins over the first one that matches.

        Raises:
            NoSuchPlatform: lists the available platforms.
        """
        images = self.images
        wanted = platform or DEFAULT_PLATFORM
        matching = [(found, entry) for found, entry in images if wanted.matches(found)]
        for found, entry in matching:
            if found.normal == wanted.normal:
                return entry
        if matching:
            return matching[0][1]
        if len(images) == 1 and (platform is None or not images[0][0].known):
            return images[0][1]
        raise no_such_platform(wanted if platform else None, self.platforms)


def parse(data: bytes, content_type: str = "") -> Manifest | Index:
    """Read a manifest or an index; *content_type* is the Content-Type header that came with *data*, if any.

    Raises:
        InvalidImage: not JSON, of schema 1, not an image, or malformed.
    """
    declared = content_type.partition(";")[0].strip().lower()
    try:
        document = parse_json(data)
    except ValueError:
        raise InvalidImage(
            f"expected a manifest, got {declared or 'a response'} that is not JSON: {data[:60]!r}",
            hint="check the registry's address: a proxy, a login page or a web server may respond in its place",
        ) from None
    if not isinstance(document, dict):
        raise InvalidImage(f"expected a manifest, got JSON that is not an object: {data[:60]!r}")
    if document.get("schemaVersion") == 1 or "docker.distribution.manifest.v1+" in declared:
        raise InvalidImage(
            "the manifest is of schema 1, which registries and engines no longer support",
            hint="pull the image and push it again with a current Docker",
        )
    media_type = _media_type(document, declared)
    annotations = _annotations(document)
    if media_type in INDEX_TYPES:
        entries = tuple(Descriptor.from_json(entry) for entry in _list(document, "manifests"))
        return Index(media_type, entries, annotations, data)
    oci = media_type == OCI_MANIFEST
    config_type, layer_type = (OCI_CONFIG, OCI_LAYER_GZIP) if oci else (DOCKER_CONFIG, DOCKER_LAYER_GZIP)
    config = Descriptor.from_json(document.get("config"), config_type)
    if config.media_type in _VAGUE_CONFIG_TYPES:
        config = config._replace(media_type=config_type)
    layers = tuple(Descriptor.from_json(layer, layer_type) for layer in _list(document, "layers"))
    return Manifest(media_type, config, layers, annotations, data)


def is_foreign(layer: Descriptor) -> bool:
    """Tell whether *layer* may not be distributed: engines fetch it from its URLs, and registries need not have it."""
    return bool(layer.extra.get("urls")) and ("foreign" in layer.media_type or "nondistributable" in layer.media_type)


def no_such_platform(wanted: Platform | None, available: Iterable[Platform]) -> NoSuchPlatform:
    """Return the error that lists the *available* platforms; without a *wanted* one, the default is missing."""
    names = ", ".join(map(str, available))
    return NoSuchPlatform(
        f"no {wanted or DEFAULT_PLATFORM} image; available platforms: {names or 'none'}",
        hint="name one of them with the run option platform" if names else None,
    )


def _build(media_type: str, parts: dict[str, object], annotations: Mapping[str, object]) -> bytes:
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": media_type, **parts}
    if annotations:
        if media_type not in (OCI_MANIFEST, OCI_INDEX):
            raise InvalidImage("a manifest or index in Docker's flavour cannot have annotations")
        document["annotations"] = dict(annotations)
    return canonical_json(document)


def _media_type(document: dict[str, object], declared: str) -> str:
    stated, media_type = document.get("mediaType"), declared
    # Such a document means different images to different clients (CVE-2021-41190).
    if "manifests" in document and ("layers" in document or "config" in document):
        raise InvalidImage("the manifest is both an image and an index")
    if isinstance(stated, str) and stated:
        media_type = stated
    elif declared not in MANIFEST_TYPES | INDEX_TYPES:
        media_type = OCI_INDEX if "manifests" in document else OCI_MANIFEST if "layers" in document else declared
    if media_type not in MANIFEST_TYPES | INDEX_TYPES:
        errors = document.get("errors")
        detail = f"an error: {errors!r:.200}" if errors else f"a document of type {media_type or 'unknown'}"
        raise InvalidImage(f"expected an image manifest, got {detail}")
    return media_type


def _annotations(document: dict[str, object]) -> Mapping[str, object]:
    annotations = document.get("annotations")
    if annotations is None:
        return NOTHING
    if not isinstance(annotations, dict):
        raise InvalidImage(f"invalid annotations in the manifest {annotations!r:.80}: expected a JSON object")
    return MappingProxyType(annotations)


def _list(document: dict[str, object], key: str) -> list[object]:
    value = document.get(key)
    if not isinstance(value, list):
        raise InvalidImage(f"invalid {key} in the manifest {value!r:.80}: expected a list")
    return value


def _states_unknown(entry: Descriptor) -> bool:
    # BuildKit marks attestations like this. An entry without a platform may well be an image.
    platform = entry.extra.get("platform")
    return isinstance(platform, Mapping) and platform.get("os") == platform.get("architecture") == "unknown"
