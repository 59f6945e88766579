"""Hold an image against its specification: every invariant that does not hold is reported, not just the first.

Nothing is read here: the caller gives the bytes of a manifest or an index, and opens what these refer to, as far as it
has it. What is not given is not checked. Sources: the OCI image specification (*descriptor*, *manifest*, *image-index*,
*config*, *layer*), Docker's image manifest of version 2, schema 2, and what engines do with mixtures of the two.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import hasher, is_digest
from topcoat.oci.manifest import (
    CONFIG_TYPES,
    DOCKER_CONFIG,
    DOCKER_FOREIGN_LAYER,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    OCI_LAYER,
)
from topcoat.oci.mismatch import Mismatch, invalid_image, shown
from topcoat.oci.platform import Platform
from topcoat.oci.validate_config import config_mismatches
from topcoat.oci.validate_layer import layer_mismatches

Opener = Callable[[Descriptor], "BinaryIO | None"]
"""Opens the content of a descriptor as it is stored; None where it is not at hand."""

_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_LAYERS = frozenset({DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_FOREIGN_LAYER})
_OCI_LAYERS = frozenset(f"{kind}{stored}" for kind in (OCI_LAYER, _OCI_FOREIGN) for stored in ("", "+gzip", "+zstd"))
_ENCRYPTED = "+encrypted"
_MOST_NESTED = 4


class _Flavour(NamedTuple):
    """The media types that one kind of manifest or index may refer to."""

    oci: bool
    config: frozenset[str]
    layers: frozenset[str]
    entries: frozenset[str]


# Docker's layer types are at home under OCI manifests: engines of every age take them, and a base keeps them there.
_OCI = _Flavour(True, frozenset({OCI_CONFIG}), _OCI_LAYERS | _DOCKER_LAYERS, MANIFEST_TYPES | INDEX_TYPES)
_DOCKER = _Flavour(False, frozenset({DOCKER_CONFIG}), _DOCKER_LAYERS, frozenset({DOCKER_MANIFEST, DOCKER_INDEX}))


def find_mismatches(
    data: bytes, open_blob: Opener = lambda descriptor: None, *, media_type: str = ""
) -> list[Mismatch]:
    """Return every invariant that does not hold for the image or index whose document is *data*.

    Args:
        data: the manifest or index, as stored.
        open_blob: opens the manifests of an index, configs and layers; each is read once and closed.
        media_type: the Content-Type that *data* came with, if any.
    """
    declared = media_type.partition(";")[0].strip().lower()
    return list(_document("", data, open_blob, declared, None, _MOST_NESTED))


def validate(
    data: bytes, open_blob: Opener = lambda descriptor: None, *, media_type: str = "", name: str = "the image"
) -> None:
    """Do what `find_mismatches` does, and raise what it finds.

    Raises:
        InvalidImage: lists all mismatches.
    """
    found = find_mismatches(data, open_blob, media_type=media_type)
    if found:
        raise invalid_image(name, found)


def _document(
    prefix: str, data: bytes, open_blob: Opener, declared: str, platform: Platform | None, depth: int
) -> Iterator[Mismatch]:
    document = _object(data)
    if document is None:
        yield Mismatch(f"{prefix}manifest", "JSON", "an object", shown(data[:60]), fatal=True)
        return
    index = "manifests" in document
    where = f"{prefix}{'index' if index else 'manifest'}"
    if index and ("layers" in document or "config" in document):
        # It means different images to different clients (CVE-2021-41190).
        yield Mismatch(where, "kind", "an image or an index", "both", fatal=True)
    flavour = yield from _flavour(where, document, declared, INDEX_TYPES if index else MANIFEST_TYPES)
    yield from _annotations(where, document, oci=flavour.oci)
    if index:
        yield from _index(where, document, flavour, open_blob, depth)
    else:
        yield from _manifest(prefix, document, flavour, open_blob, platform)


def _flavour(
    where: str, document: Mapping[str, Any], declared: str, allowed: frozenset[str]
) -> Generator[Mismatch, None, _Flavour]:
    """Check what the document says it is, and return which flavour that makes it."""
    version, stated = document.get("schemaVersion"), document.get("mediaType")
    if version != 2 or isinstance(version, bool):
        yield Mismatch(f"{where}.schemaVersion", "version", "2", shown(version))
    media_type = stated if stated is not None else declared
    names = " or ".join(sorted(allowed))
    if stated is not None and stated not in allowed:
        yield Mismatch(f"{where}.mediaType", "media type", names, shown(stated))
    elif declared and stated is not None and declared != stated:
        yield Mismatch(f"{where}.mediaType", "media type", f"{declared}, which it came as", shown(stated))
    elif stated is None and declared in (DOCKER_MANIFEST, DOCKER_INDEX):
        yield Mismatch(f"{where}.mediaType", "media type", declared, "nothing")
    elif stated is None and declared and declared not in allowed:
        yield Mismatch(where, "media type", names, declared)
    return _DOCKER if media_type in (DOCKER_MANIFEST, DOCKER_INDEX) else _OCI


def _index(
    where: str, document: Mapping[str, Any], flavour: _Flavour, open_blob: Opener, depth: int
) -> Iterator[Mismatch]:
    entries = document["manifests"]
    if not isinstance(entries, list):
        yield Mismatch(f"{where}.manifests", "type", "a list", shown(entries), fatal=True)
        return
    for number, value in enumerate(entries):
        place = f"{where}.manifests[{number}]"
        entry = yield from _descriptor(place, value, oci=flavour.oci)
        if entry is None:
            continue
        yield from _type_of(place, entry, flavour.entries)
        platform = yield from _platform(place, entry)
        data = yield from _content(place, entry, open_blob)
        if data is None or (platform is not None and not platform.known):
            continue  # what says that its platform is unknown is an attestation: no image
        if depth:
            yield from _document(f"{place}.", data, open_blob, entry.media_type, platform, depth - 1)
        else:
            yield Mismatch(place, "nesting", f"at most {_MOST_NESTED} indexes in one another", "more")


def _platform(place: str, entry: Descriptor) -> Generator[Mismatch, None, Platform | None]:
    stated = entry.extra.get("platform")
    if stated is None:
        return None
    if not isinstance(stated, Mapping):
        yield Mismatch(f"{place}.platform", "type", "an object", shown(stated))
        return None
    for key in ("os", "architecture"):
        if not isinstance(stated.get(key), str) or not stated[key]:
            yield Mismatch(f"{place}.platform.{key}", "name", "a text", shown(stated.get(key)))
    return Platform.from_json(stated)


def _manifest(
    prefix: str,
    document: Mapping[str, Any],
    flavour: _Flavour,
    open_blob: Opener,
    platform: Platform | None,
) -> Iterator[Mismatch]:
    where = f"{prefix}manifest"
    values = document.get("layers")
    if not isinstance(values, list):
        yield Mismatch(f"{where}.layers", "type", "a list", shown(values), fatal=True)
        values = []
    config = yield from _descriptor(f"{where}.config", document.get("config"), oci=flavour.oci)
    diff_ids: list[str] | None = None
    if config is not None:
        yield from _type_of(f"{where}.config", config, flavour.config)
        data = yield from _content(f"{where}.config", config, open_blob)
        if data is not None and config.media_type in CONFIG_TYPES:
            diff_ids = yield from config_mismatches(f"{prefix}config", data, len(values), platform)
    sizes: dict[str, int] = {}
    actual: list[str | None] = []
    for number, value in enumerate(values):
        place = f"{where}.layers[{number}]"
        layer = yield from _descriptor(place, value, oci=flavour.oci)
        actual.append(None)
        if layer is None:
            continue
        yield from _type_of(place, layer, flavour.layers)
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            yield Mismatch(f"{place}.size", "one size of one digest", str(sizes[layer.digest]), str(layer.size))
        stored = open_blob(layer)
        if stored is not None:
            with stored:
                actual[-1] = yield from layer_mismatches(place, stored, layer)
    if diff_ids is not None and len(diff_ids) == len(actual):
        yield from _diff_ids(f"{prefix}config.rootfs.diff_ids", diff_ids, actual)
    if not flavour.oci and "subject" in document:
        yield Mismatch(f"{where}.subject", "flavour", "none in Docker's flavour", shown(document["subject"]))
    elif "subject" in document:
        yield from _descriptor(f"{where}.subject", document["subject"], oci=True)


def _diff_ids(where: str, stated: list[str], actual: list[str | None]) -> Iterator[Mismatch]:
    wrong = [number for number, diff_id in enumerate(actual) if diff_id is not None and diff_id != stated[number]]
    if len(wrong) > 1 and sorted(stated) == sorted(filter(None, actual)):
        order = [stated.index(diff_id) for diff_id in actual if diff_id is not None]
        yield Mismatch(where, "order of the layers", "the manifest's", f"the manifest's have the positions {order}")
        return
    for number in wrong:
        yield Mismatch(f"{where}[{number}]", "digest of the layer's tar", str(actual[number]), stated[number])


def _descriptor(where: str, value: object, *, oci: bool) -> Generator[Mismatch, None, Descriptor | None]:
    """Check a descriptor; return it where it is whole enough to be followed."""
    if not isinstance(value, Mapping):
        yield Mismatch(where, "type", "a descriptor", shown(value), fatal=True)
        return None
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    whole = True
    if not isinstance(media_type, str) or not media_type:
        yield Mismatch(f"{where}.mediaType", "media type", "a text", shown(media_type), fatal=True)
        whole = False
    if not isinstance(digest, str) or not is_digest(digest):
        yield Mismatch(f"{where}.digest", "digest", "sha256: and 64 hex digits", shown(digest), fatal=True)
        whole = False
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        yield Mismatch(f"{where}.size", "size", "a number of bytes", shown(size), fatal=True)
        whole = False
    yield from _annotations(where, value, oci=oci)
    urls = value.get("urls")
    if urls is not None and not _texts(urls):
        yield Mismatch(f"{where}.urls", "type", "a list of texts", shown(urls))
    if not whole:
        return None
    descriptor = Descriptor.from_json(dict(value))
    yield from _data(where, descriptor)
    return descriptor


def _data(where: str, descriptor: Descriptor) -> Iterator[Mismatch]:
    """Check the content that a descriptor carries itself."""
    text = descriptor.extra.get("data")
    if text is None:
        return
    try:
        data = base64.b64decode(text if isinstance(text, str) else b"!", validate=True)
    except (binascii.Error, ValueError):
        yield Mismatch(f"{where}.data", "type", "base64", shown(text))
        return
    yield from content_mismatches(f"{where}.data", descriptor, data)


def _content(where: str, descriptor: Descriptor, open_blob: Opener) -> Generator[Mismatch, None, bytes | None]:
    stored = open_blob(descriptor)
    if stored is None:
        return None
    with stored:
        data = stored.read()
    yield from content_mismatches(where, descriptor, data)
    return data


def content_mismatches(where: str, descriptor: Descriptor, data: bytes) -> Iterator[Mismatch]:
    """Yield how *data* is not what *descriptor* says."""
    if len(data) != descriptor.size:
        yield Mismatch(f"{where}.size", "bytes of the content", str(len(data)), str(descriptor.size), fatal=True)
    state = hasher(descriptor.digest)
    state.update(data)
    actual = f"{descriptor.digest.partition(':')[0]}:{state.hexdigest()}"
    if actual != descriptor.digest:
        yield Mismatch(f"{where}.digest", "digest of the content", actual, descriptor.digest, fatal=True)


def _type_of(where: str, descriptor: Descriptor, allowed: frozenset[str]) -> Iterator[Mismatch]:
    if descriptor.media_type.removesuffix(_ENCRYPTED) not in allowed:
        names = " or ".join(sorted(allowed)) if len(allowed) < 3 else f"one like {min(allowed)}"
        yield Mismatch(f"{where}.mediaType", "media type that goes with the others", names, descriptor.media_type)


def _annotations(where: str, holder: Mapping[str, object], *, oci: bool) -> Iterator[Mismatch]:
    found = holder.get("annotations")
    if found is None:
        return
    if not oci:
        yield Mismatch(f"{where}.annotations", "flavour", "none in Docker's flavour", shown(found))
    elif not isinstance(found, Mapping) or not all(isinstance(one, str) for one in found.values()):
        yield Mismatch(f"{where}.annotations", "type", "an object of texts", shown(found))


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
