import pytest

from topcoat.errors import ImageNotFound, InvalidImage, NoSuchPlatform, RegistryError
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.manifest import DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Manifest
from topcoat.oci.platform import Platform
from topcoat.oci.reference import Reference
from topcoat.registry.resolve import resolve

from .conftest import request_log


def _resolve(fake, client, tag="1", platform=None):
    reference = Reference.parse(f"{fake.host}/base:{tag}")
    return resolve(client, reference, Platform.parse(platform) if platform else None)


@pytest.fixture
def index(fake):
    images = {
        name: fake.add_image("base", platform=name, layers=[name.encode()])
        for name in ("linux/arm64/v8", "linux/amd64", "windows/amd64")
    }
    attestation = fake.add_image("base", layers=[b"sbom"])._replace(
        extra={"platform": {"os": "unknown", "architecture": "unknown"}}
    )
    return images, fake.add_index("base", "1", [attestation, *images.values()])


def test_an_image_is_resolved_with_two_requests(fake, client):
    stored = fake.add_image("base", "1", layers=[b"a", b"b"], config={"config": {"WorkingDir": "/w"}})
    resolved = _resolve(fake, client)
    assert request_log(fake) == [("GET", 200)] * 2
    assert resolved.digest == resolved.manifest_digest == stored.digest
    assert len(resolved.manifest.layers) == 2
    assert b'"WorkingDir":"/w"' in resolved.config
    assert resolved.platform == Platform("linux", "amd64")
    assert resolved.reference.identifier == "1"


def test_no_layer_is_read(fake, client, index):
    _resolve(fake, client)
    assert sum("/blobs/" in request.path for request in fake.requests) == 1


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (None, "linux/amd64"),
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_the_requested_platform_of_an_index_is_selected(fake, client, index, wanted, name):
    images, stored = index
    resolved = _resolve(fake, client, platform=wanted)
    assert resolved.digest == stored.digest
    assert resolved.manifest_digest == images[name].digest
    assert str(resolved.platform) == name
    assert request_log(fake) == [("GET", 200)] * 3


def test_a_digest_is_resolved(fake, client, index):
    images, stored = index
    reference = Reference.parse(f"{fake.host}/base@{stored.digest}")
    assert resolve(client, reference, None).manifest_digest == images["linux/amd64"].digest


def test_an_index_in_an_index_is_followed(fake, client, index):
    images, stored = index
    fake.add_index("base", "2", [stored])
    assert _resolve(fake, client, "2", "linux/arm64").manifest_digest == images["linux/arm64/v8"].digest


def test_indexes_nested_too_deep_are_refused(fake, client):
    inner = fake.add_index("base", "", [])
    for _ in range(4):
        inner = fake.add_index("base", "1", [inner])
    with pytest.raises(InvalidImage, match="nested more than 3 deep"):
        _resolve(fake, client)


def test_a_missing_platform_is_an_error_that_lists_the_available_ones(fake, client, index):
    with pytest.raises(
        NoSuchPlatform, match="linux/s390x image; available platforms: linux/arm64/v8, linux/amd64, windows/amd64"
    ):
        _resolve(fake, client, platform="linux/s390x")


def test_a_single_image_for_another_platform_is_refused(fake, client):
    fake.add_image("base", "1", platform="linux/arm64")
    with pytest.raises(NoSuchPlatform, match="no linux/amd64 image; available platforms: linux/arm64"):
        _resolve(fake, client, platform="linux/amd64")
    assert _resolve(fake, client).platform == Platform("linux", "arm64")


def test_an_image_without_a_platform_is_used_for_the_requested_one(fake, client):
    config = fake.add_blob("base", canonical_json({"rootfs": {"type": "layers", "diff_ids": []}}), OCI_CONFIG)
    data = Manifest.build(media_type=OCI_MANIFEST, config=config, layers=[])
    fake.store_manifest("base", "1", data, OCI_MANIFEST)
    assert _resolve(fake, client, platform="linux/arm64").platform == Platform("linux", "arm64")
    assert not _resolve(fake, client).platform.known


def test_a_missing_image_is_an_error(fake, client):
    with pytest.raises(ImageNotFound, match="there is no image"):
        _resolve(fake, client)


def test_a_missing_entry_of_an_index_is_an_error(fake, client, index):
    images, _ = index
    del fake.repositories["base"].manifests[images["linux/amd64"].digest]
    with pytest.raises(ImageNotFound, match=images["linux/amd64"].digest):
        _resolve(fake, client)


def test_an_artifact_that_is_not_an_image_is_refused(fake, client):
    config = fake.add_blob("base", b"{}", "application/vnd.cncf.helm.config.v1+json")
    data = Manifest.build(media_type=OCI_MANIFEST, config=config, layers=[])
    fake.store_manifest("base", "1", data, OCI_MANIFEST)
    with pytest.raises(InvalidImage, match=r"is not a container image: .*helm"):
        _resolve(fake, client)


@pytest.mark.parametrize("config", [b"[]", b"not json"])
def test_a_config_that_is_not_an_object_is_refused(fake, client, config):
    blob = fake.add_blob("base", config, OCI_CONFIG)
    fake.store_manifest("base", "1", Manifest.build(media_type=OCI_MANIFEST, config=blob, layers=[]), OCI_MANIFEST)
    with pytest.raises(InvalidImage, match="config: JSON: expected an object"):
        _resolve(fake, client)


def _base(fake, config, layers=(b"one", b"two"), media_type=OCI_MANIFEST):
    blobs = [fake.add_blob("base", data, OCI_LAYER) for data in layers]
    blob = fake.add_blob("base", canonical_json(config), OCI_CONFIG)
    data = Manifest.build(media_type=media_type, config=blob, layers=blobs)
    fake.store_manifest("base", "1", data, media_type)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rootfs": {"type": "layers", "diff_ids": [sha256_digest(b"one")]}}, "1 for the manifest's 2 layers"),
        ({"rootfs": {"type": "layers", "diff_ids": ["one", "two"]}}, r"diff_ids\[1\].*'two'"),
        ({"rootfs": {}}, "found nothing"),
        ({"config": {"Env": {"A": "b"}}}, "config.Env"),
    ],
)
def test_a_broken_base_is_refused_with_all_its_mismatches(fake, client, change, said):
    config = {"os": "linux", "architecture": "amd64", "rootfs": _ROOTFS, "history": [], **change}
    _base(fake, {**config, "config": {"User": 7, **config.get("config", {})}})
    with pytest.raises(InvalidImage, match=said) as raised:
        _resolve(fake, client)
    assert "config.User: type: expected a string, found 7" in str(raised.value), (
        "mismatches that are not fatal are listed too"
    )
    assert f"{fake.host}/base:1" in str(raised.value)
    assert raised.value.hint


_ROOTFS = {"type": "layers", "diff_ids": [sha256_digest(b"one"), sha256_digest(b"two")]}


@pytest.mark.parametrize(
    "change",
    [
        {"history": [{"created_by": "one step for two layers"}]},
        {"history": "none"},
        {"rootfs": {**_ROOTFS, "type": "odd"}},
        {"config": {"Labels": {"dev.topcoat.layers": sha256_digest(b"gone")}}},
    ],
)
def test_a_base_with_minor_mismatches_is_accepted(fake, client, change):
    _base(fake, {"os": "linux", "architecture": "amd64", "rootfs": _ROOTFS, **change})
    assert len(_resolve(fake, client).manifest.layers) == 2


def test_a_base_of_mixed_media_types_is_accepted(fake, client):
    _base(fake, {"os": "linux", "architecture": "amd64", "rootfs": _ROOTFS}, media_type=DOCKER_MANIFEST)
    assert _resolve(fake, client).manifest.media_type == DOCKER_MANIFEST


def test_a_config_larger_than_the_maximum_is_refused(fake, client, monkeypatch):
    monkeypatch.setattr("topcoat.registry.resolve._MAX_CONFIG_BYTES", 10)
    fake.add_image("base", "1")
    with pytest.raises(InvalidImage, match="is larger than 10 bytes"):
        _resolve(fake, client)


def test_a_config_that_does_not_match_its_digest_is_refused(fake, client):
    fake.add_image("base", "1")
    digest = fake.manifest("base", "1")["config"]["digest"]
    fake.blobs[digest] = fake.blobs[digest].replace(b"amd64", b"arm64")
    with pytest.raises(RegistryError, match="its digest is"):
        _resolve(fake, client)
