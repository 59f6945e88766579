"""Check an image against the specification: every broken rule is reported, not just the first.

The caller passes the bytes of a manifest or an index, and opens the content that these refer to. Content that it does
not have is not checked. Sources: the OCI image specification (*image-index*, *layer*), and `topcoat.oci.validate`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import BinaryIO

from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import INDEX_TYPES, MANIFEST_TYPES
from topcoat.oci.mismatch import Mismatch, invalid_image, shown
from topcoat.oci.platform import Platform
from topcoat.oci.validate import Flavour, check_content, check_descriptor, check_json, check_manifest, check_type
from topcoat.testing.validate_layer import layer_mismatches

Opener = Callable[[Descriptor], "BinaryIO | None"]
"""Opens the content of a descriptor as it is stored; None if it is not available."""

_MAX_NESTED = 4


def find_mismatches(
    data: bytes, open_blob: Opener = lambda descriptor: None, *, media_type: str = ""
) -> list[Mismatch]:
    """Return every rule that the image or index *data*, as stored, breaks.

    *open_blob* opens the manifests of an index, configs and layers; each is read once and closed. *media_type* is the
    Content-Type that *data* came with, if any.
    """
    return list(_document("", data, open_blob, media_type, None, _MAX_NESTED))


def validate(
    data: bytes, open_blob: Opener = lambda descriptor: None, *, media_type: str = "", name: str = "the image"
) -> None:
    """Raise an ``InvalidImage`` that lists what `find_mismatches` returns, if anything."""
    mismatches = find_mismatches(data, open_blob, media_type=media_type)
    if mismatches:
        raise invalid_image(name, mismatches)


def _document(
    prefix: str, data: bytes, open_blob: Opener, declared: str, platform: Platform | None, depth: int
) -> Iterator[Mismatch]:
    document = yield from check_json(prefix, data)
    if document is None:
        return
    if "manifests" in document:
        flavour = yield from check_type(f"{prefix}index", document, declared, INDEX_TYPES)
        yield from _index(f"{prefix}index", document["manifests"], flavour, open_blob, depth)
        return
    flavour = yield from check_type(f"{prefix}manifest", document, declared, MANIFEST_TYPES)
    parts = yield from check_manifest(prefix, document, flavour, _reader(open_blob), platform)
    actual: list[str | None] = []
    for number, layer in enumerate(parts.layers):
        actual.append(None)
        if layer is not None and (stored := open_blob(layer)) is not None:
            with stored:
                actual[-1] = yield from layer_mismatches(f"{prefix}manifest.layers[{number}]", stored, layer)
    if parts.diff_ids is not None and len(parts.diff_ids) == len(actual):
        yield from _diff_ids(f"{prefix}config.rootfs.diff_ids", parts.diff_ids, actual)


def _reader(open_blob: Opener) -> Callable[[Descriptor], bytes | None]:
    def read(descriptor: Descriptor) -> bytes | None:
        stored = open_blob(descriptor)
        if stored is None:
            return None
        with stored:
            return stored.read()

    return read


def _index(where: str, entries: object, flavour: Flavour, open_blob: Opener, depth: int) -> Iterator[Mismatch]:
    if not isinstance(entries, list):
        yield Mismatch(f"{where}.manifests", "type", "a list", shown(entries), fatal=True)
        return
    for number, value in enumerate(entries):
        place = f"{where}.manifests[{number}]"
        entry = yield from check_descriptor(place, value, flavour, flavour.entries)
        if entry is None:
            continue
        platform = yield from _platform(place, entry)
        data = yield from check_content(place, entry, _reader(open_blob))
        if data is None or (platform is not None and not platform.known):
            continue  # an entry with an unknown platform is an attestation, not an image
        if depth:
            yield from _document(f"{place}.", data, open_blob, entry.media_type, platform, depth - 1)
        else:
            yield Mismatch(place, "nesting", f"at most {_MAX_NESTED} indexes in one another", "more")


def _platform(place: str, entry: Descriptor) -> Generator[Mismatch, None, Platform | None]:
    stated = entry.extra.get("platform")
    if stated is None:
        return None
    if not isinstance(stated, Mapping):
        yield Mismatch(f"{place}.platform", "type", "an object", shown(stated))
        return None
    for key in ("os", "architecture"):
        if not isinstance(stated.get(key), str) or not stated[key]:
            yield Mismatch(f"{place}.platform.{key}", "name", "a string", shown(stated.get(key)))
    return Platform.from_json(stated)


def _diff_ids(where: str, stated: list[str], actual: list[str | None]) -> Iterator[Mismatch]:
    wrong = [number for number, diff_id in enumerate(actual) if diff_id is not None and diff_id != stated[number]]
    if len(wrong) > 1 and sorted(stated) == sorted(filter(None, actual)):
        order = [stated.index(diff_id) for diff_id in actual if diff_id is not None]
        yield Mismatch(where, "order of the layers", "the manifest's", f"the manifest's have the positions {order}")
        return
    for number in wrong:
        yield Mismatch(f"{where}[{number}]", "digest of the layer's tar", str(actual[number]), stated[number])
