"""Check a manifest and its config against the specification: every broken rule is reported, not just the first.

Sources: the OCI image specification (*descriptor*, *manifest*, *config*), Docker's image manifest version 2 schema 2,
and what engines do with mixtures of the two. `topcoat.testing.validate` checks indexes and layers too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple

from topcoat.foreign_text import parse_json
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import digest_like, is_digest, normal_digest
from topcoat.oci.manifest import (
    CONFIG_TYPES,
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_TYPES,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    OCI_LAYER_TYPES,
)
from topcoat.oci.mismatch import Mismatch, shown
from topcoat.oci.platform import Platform
from topcoat.oci.validate_config import config_mismatches

_ENCRYPTED = "+encrypted"


class Flavour(NamedTuple):
    """The media types that one kind of manifest or index may refer to."""

    is_oci: bool
    config: frozenset[str]
    layers: frozenset[str]
    entries: frozenset[str]


# All engines accept Docker's layer types in OCI manifests, and a base image may have them there.
_OCI = Flavour(True, frozenset({OCI_CONFIG}), OCI_LAYER_TYPES | DOCKER_LAYER_TYPES, MANIFEST_TYPES | INDEX_TYPES)
_DOCKER = Flavour(False, frozenset({DOCKER_CONFIG}), DOCKER_LAYER_TYPES, frozenset({DOCKER_MANIFEST, DOCKER_INDEX}))


class ManifestParts(NamedTuple):
    """What a manifest refers to; None stands for what is malformed or was not read."""

    layers: list[Descriptor | None]
    diff_ids: list[str] | None


def find_mismatches(data: bytes, config: bytes, *, media_type: str = "") -> list[Mismatch]:
    """Return every rule that a manifest and its config, both as stored, break.

    *media_type* is the Content-Type that the manifest came with, if any.
    """

    def find() -> Iterator[Mismatch]:
        document = yield from check_json("", data)
        if document is not None:
            flavour = yield from check_type("manifest", document, media_type, MANIFEST_TYPES)
            yield from check_manifest("", document, flavour, lambda descriptor: config)

    return list(find())


def check_json(prefix: str, data: bytes) -> Generator[Mismatch, None, dict[str, Any] | None]:
    """Check that *data* is a JSON object, and that it is not a manifest and an index at the same time; return it."""
    try:
        document = parse_json(data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        yield Mismatch(f"{prefix}manifest", "JSON", "an object", shown(data[:60]), fatal=True)
        return None
    if "manifests" in document and ("layers" in document or "config" in document):
        # It means different images to different clients (CVE-2021-41190).
        yield Mismatch(f"{prefix}index", "kind", "an image or an index", "both", fatal=True)
    return document


def check_type(
    where: str, document: Mapping[str, Any], declared: str, allowed: frozenset[str]
) -> Generator[Mismatch, None, Flavour]:
    """Check version, media type and annotations of a manifest or index; return its flavour.

    *declared* is the Content-Type that it came with, or the media type of its descriptor; it may be empty.
    """
    declared = declared.partition(";")[0].strip().lower()
    version, stated = document.get("schemaVersion"), document.get("mediaType")
    if version != 2 or isinstance(version, bool):
        yield Mismatch(f"{where}.schemaVersion", "version", "2", shown(version))
    media_type = stated if stated is not None else declared
    names = " or ".join(sorted(allowed))
    if stated is not None and not (isinstance(stated, str) and stated in allowed):
        yield Mismatch(f"{where}.mediaType", "media type", names, shown(stated))
    elif declared and stated is not None and declared != stated:
        yield Mismatch(f"{where}.mediaType", "media type", f"{declared}, which it came as", shown(stated))
    elif stated is None and declared in (DOCKER_MANIFEST, DOCKER_INDEX):
        yield Mismatch(f"{where}.mediaType", "media type", declared, "nothing")
    elif stated is None and declared and declared not in allowed:
        yield Mismatch(where, "media type", names, declared)
    flavour = _DOCKER if media_type in (DOCKER_MANIFEST, DOCKER_INDEX) else _OCI
    yield from _check_annotations(where, document, is_oci=flavour.is_oci)
    return flavour


def check_manifest(
    prefix: str,
    document: Mapping[str, Any],
    flavour: Flavour,
    read: Callable[[Descriptor], bytes | None],
    platform: Platform | None = None,
) -> Generator[Mismatch, None, ManifestParts]:
    """Check a manifest and the config that *read* returns; *platform* is what an index states, if one does."""
    where = f"{prefix}manifest"
    values = document.get("layers")
    if not isinstance(values, list):
        yield Mismatch(f"{where}.layers", "type", "a list", shown(values), fatal=True)
        values = []
    config = yield from check_descriptor(f"{where}.config", document.get("config"), flavour, flavour.config)
    diff_ids: list[str] | None = None
    if config is not None:
        data = yield from check_content(f"{where}.config", config, read)
        if data is not None and config.media_type in CONFIG_TYPES:
            diff_ids = yield from config_mismatches(f"{prefix}config", data, len(values), platform)
    layers: list[Descriptor | None] = []
    sizes: dict[str, int] = {}
    for number, value in enumerate(values):
        place = f"{where}.layers[{number}]"
        layer = yield from check_descriptor(place, value, flavour, flavour.layers)
        layers.append(layer)
        if layer is not None and sizes.setdefault(layer.digest, layer.size) != layer.size:
            yield Mismatch(f"{place}.size", "one size of one digest", str(sizes[layer.digest]), str(layer.size))
    if not flavour.is_oci and "subject" in document:
        yield Mismatch(f"{where}.subject", "flavour", "none in Docker's flavour", shown(document["subject"]))
    elif "subject" in document:
        yield from check_descriptor(f"{where}.subject", document["subject"], flavour)
    return ManifestParts(layers, diff_ids)


def check_descriptor(
    where: str, value: object, flavour: Flavour, allowed: frozenset[str] = frozenset()
) -> Generator[Mismatch, None, Descriptor | None]:
    """Check a descriptor, and that its media type is among the *allowed* ones, if any; None if it is malformed."""
    if not isinstance(value, Mapping):
        yield Mismatch(where, "type", "a descriptor", shown(value), fatal=True)
        return None
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    is_whole = True
    if not isinstance(media_type, str) or not media_type:
        fatal = media_type is not None and media_type != ""
        yield Mismatch(f"{where}.mediaType", "media type", "a string", shown(media_type), fatal=fatal)
        is_whole = False
    if not isinstance(digest, str) or not is_digest(digest):
        fatal = not isinstance(digest, str) or not is_digest(normal_digest(digest))
        yield Mismatch(f"{where}.digest", "digest", "sha256: and 64 hex digits", shown(digest), fatal=fatal)
        is_whole = False
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        yield Mismatch(f"{where}.size", "size", "a number of bytes", shown(size), fatal=True)
        is_whole = False
    yield from _check_annotations(where, value, is_oci=flavour.is_oci)
    urls = value.get("urls")
    if urls is not None and not (isinstance(urls, list) and all(isinstance(url, str) for url in urls)):
        yield Mismatch(f"{where}.urls", "type", "a list of strings", shown(urls))
    if not is_whole:
        return None
    descriptor = Descriptor.from_json(dict(value))
    yield from _check_data(where, descriptor)
    if allowed and descriptor.media_type.removesuffix(_ENCRYPTED) not in allowed:
        names = " or ".join(sorted(allowed)) if len(allowed) < 3 else f"one like {min(allowed)}"
        yield Mismatch(f"{where}.mediaType", "media type that goes with the others", names, descriptor.media_type)
    return descriptor


def _check_data(where: str, descriptor: Descriptor) -> Iterator[Mismatch]:
    """Check the content that is embedded in a descriptor."""
    text = descriptor.extra.get("data")
    if text is None:
        return
    try:
        data = base64.b64decode(text if isinstance(text, str) else b"!", validate=True)
    except (binascii.Error, ValueError):
        yield Mismatch(f"{where}.data", "type", "base64", shown(text))
        return
    yield from content_mismatches(f"{where}.data", descriptor, len(data), digest_like(descriptor.digest, data))


def check_content(
    where: str, descriptor: Descriptor, read: Callable[[Descriptor], bytes | None]
) -> Generator[Mismatch, None, bytes | None]:
    """Check the content that *read* returns; None if it is not available."""
    data = read(descriptor)
    if data is not None:
        yield from content_mismatches(where, descriptor, len(data), digest_like(descriptor.digest, data))
    return data


def content_mismatches(where: str, descriptor: Descriptor, size: int, digest: str) -> Iterator[Mismatch]:
    """Yield the differences between content of this *size* and *digest* and its *descriptor*."""
    if size != descriptor.size:
        yield Mismatch(f"{where}.size", "bytes of the content", str(size), str(descriptor.size), fatal=True)
    if digest != descriptor.digest:
        yield Mismatch(f"{where}.digest", "digest of the content", digest, descriptor.digest, fatal=True)


def _check_annotations(where: str, holder: Mapping[str, object], *, is_oci: bool) -> Iterator[Mismatch]:
    annotations = holder.get("annotations")
    if annotations is None:
        return
    if not is_oci:
        yield Mismatch(f"{where}.annotations", "flavour", "none in Docker's flavour", shown(annotations))
    elif not isinstance(annotations, Mapping) or not all(isinstance(value, str) for value in annotations.values()):
        yield Mismatch(f"{where}.annotations", "type", "an object with string values", shown(annotations))
