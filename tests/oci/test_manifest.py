import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidImage, NoSuchPlatform
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Index,
    Manifest,
    parse,
)
from topcoat.oci.platform import Platform

_CONFIG = Descriptor(OCI_CONFIG, "sha256:" + "c" * 64, 10)
_LAYERS = tuple(Descriptor(OCI_LAYER_GZIP, f"sha256:{n:064x}", n, {"annotations": {"n": str(n)}}) for n in range(3))
_AMD = {"os": "linux", "architecture": "amd64"}
_ARM = {"os": "linux", "architecture": "arm64", "variant": "v8"}


def _document(**keys):
    return json.dumps({"schemaVersion": 2, **keys}).encode()


def _image(**keys):
    return _document(config=_CONFIG.to_json(), layers=[layer.to_json() for layer in _LAYERS], **keys)


def _index(*platforms, **keys):
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": f"sha256:{n:064x}", "size": 1}
        | ({} if platform is None else {"platform": platform})
        for n, platform in enumerate(platforms)
    ]
    return parse(_document(mediaType=OCI_INDEX, manifests=entries, **keys))


def _selected(index, platform=None):
    entry = index.select(Platform.parse(platform) if platform else None)
    return int(entry.digest.partition(":")[2], 16)


@given(st.dictionaries(st.text(), st.text()), st.integers(0, 3))
def test_what_is_built_is_read_back(annotations, count):
    data = Manifest.build(media_type=OCI_MANIFEST, config=_CONFIG, layers=_LAYERS[:count], annotations=annotations)
    manifest = parse(data, OCI_MANIFEST)
    assert manifest == Manifest(OCI_MANIFEST, _CONFIG, _LAYERS[:count], annotations, data)
    assert manifest.is_oci


def test_a_docker_manifest_cannot_have_annotations():
    config = Descriptor(DOCKER_CONFIG, _CONFIG.digest, 10)
    layer = Descriptor(DOCKER_LAYER_GZIP, _LAYERS[0].digest, 1)
    data = Manifest.build(media_type=DOCKER_MANIFEST, config=config, layers=[layer])
    manifest = parse(data, DOCKER_MANIFEST)
    assert not manifest.is_oci
    assert manifest.layers == (layer,)
    with pytest.raises(InvalidImage, match="cannot have annotations"):
        Manifest.build(media_type=DOCKER_MANIFEST, config=config, layers=[], annotations={"a": "b"})


def test_the_type_in_the_document_wins_over_the_header():
    assert parse(_image(mediaType=OCI_MANIFEST), "application/octet-stream").media_type == OCI_MANIFEST
    assert parse(_image(mediaType=OCI_MANIFEST), DOCKER_MANIFEST).media_type == OCI_MANIFEST


def test_without_a_type_in_the_document_the_header_counts():
    assert parse(_image(), f"{DOCKER_MANIFEST}; charset=utf-8").media_type == DOCKER_MANIFEST
    assert parse(_document(manifests=[]), DOCKER_INDEX).media_type == DOCKER_INDEX


def test_without_any_stated_type_the_keys_count():
    assert parse(_image(), "application/json").media_type == OCI_MANIFEST
    assert parse(_document(manifests=[]), "").media_type == OCI_INDEX


@pytest.mark.parametrize(
    ("data", "content_type", "why"),
    [
        (b"<html>log in</html>", "text/html", "got text/html that is not JSON: b'<html>log in"),
        (b"", "", "got a response that is not JSON"),
        (b"\xff\xfe\x00", "", "not JSON"),
        (b"[" * 100_000, "", "not JSON"),
        (b"[]", "", "JSON that is not an object"),
        (b'{"schemaVersion":1,"name":"x"}', "application/json", "schema 1"),
        (b'{"name":"x"}', "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        (_image(manifests=[]), OCI_MANIFEST, "both an image and an index"),
        (_document(mediaType="application/vnd.oci.artifact.manifest.v1+json"), "", "type application/vnd.oci.artifact"),
        (b'{"errors":[{"code":"DENIED"}]}', "application/json", "an error: .*DENIED"),
        (_document(mediaType=OCI_MANIFEST, layers=[]), "", "invalid descriptor None: expected a JSON object"),
        (_document(mediaType=OCI_MANIFEST, config=_CONFIG.to_json(), layers={}), "", "invalid layers"),
        (_document(mediaType=OCI_INDEX, manifests=None), "", "invalid manifests"),
        (_image(mediaType=OCI_MANIFEST, annotations=[]), "", "invalid annotations"),
    ],
)
def test_an_unusable_document_is_refused_with_the_reason(data, content_type, why):
    with pytest.raises(InvalidImage, match=why):
        parse(data, content_type)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_json_is_an_image_or_an_invalid_image(value):
    document = {"schemaVersion": 2, "layers": value, "config": value}
    with pytest.raises(InvalidImage):
        parse(json.dumps(document).encode())


def test_the_given_platform_is_selected():
    index = _index(_ARM, _AMD)
    assert _selected(index, "linux/amd64") == 1
    assert _selected(index, "linux/arm64") == 0
    assert index.platforms == (Platform("linux", "arm64", "v8"), Platform("linux", "amd64"))


def test_without_a_platform_linux_amd64_is_selected():
    assert _selected(_index(_ARM, _AMD)) == 1


def test_without_a_platform_the_only_one_is_selected():
    assert _selected(_index(_ARM)) == 0


def test_the_plain_variant_wins_over_a_special_one_that_comes_first():
    assert _selected(_index({**_AMD, "variant": "v3"}, _AMD), "linux/amd64") == 1
    assert _selected(_index(_ARM, {**_AMD, "variant": "v3"}), "linux/amd64") == 1


def test_the_first_of_two_equal_entries_is_selected():
    assert _selected(_index(_AMD, _AMD), "linux/amd64") == 0


def test_attestations_are_not_images():
    attestation = {"os": "unknown", "architecture": "unknown"}
    index = _index(attestation, _ARM)
    assert index.platforms == (Platform("linux", "arm64", "v8"),)
    assert _selected(index) == 1
    marked = Descriptor(OCI_MANIFEST, "sha256:" + "0" * 64, 1, {"annotations": {"vnd.docker.reference.type": "x"}})
    assert Index(OCI_INDEX, (marked,)).images == ()


def test_a_single_entry_without_a_platform_matches_any():
    assert _selected(_index(None), "linux/s390x") == 0
    assert _selected(_index(None)) == 0


def test_a_missing_platform_is_an_error_that_lists_the_others():
    with pytest.raises(
        NoSuchPlatform, match="no linux/s390x image; available platforms: linux/arm64/v8, linux/amd64"
    ) as e:
        _index(_ARM, _AMD).select(Platform.parse("linux/s390x"))
    assert "platform" in e.value.hint


def test_several_platforms_without_linux_amd64_need_a_choice():
    with pytest.raises(
        NoSuchPlatform, match="no linux/amd64 image; available platforms: linux/arm64/v8, windows/amd64"
    ):
        _index(_ARM, {"os": "windows", "architecture": "amd64"}).select()


def test_an_index_without_images_has_no_platforms():
    with pytest.raises(NoSuchPlatform, match="available platforms: none"):
        _index().select(Platform("linux", "amd64"))
