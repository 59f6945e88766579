"""The client against real registries: distribution 2.8 and 3, plain, and with TLS and a login."""

import io
import threading

import pytest

from topcoat.errors import AuthenticationFailed, ImageNotFound, RegistryError, RegistryUnavailable
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Manifest,
)
from topcoat.oci.platform import Platform
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient
from topcoat.registry.resolve import resolve
from topcoat.registry.upload import upload_blob

from .conftest import docker_login, random_bytes


@pytest.fixture
def real(any_registry):
    with RegistryClient(any_registry.host) as client:
        yield client


@pytest.fixture
def tls_client(tls_registry):
    with RegistryClient(tls_registry.host, ca_file=str(tls_registry.ca_file)) as client:
        yield client


def _upload(client, repository, data, media_type="", **options):
    descriptor = Descriptor(media_type, sha256_digest(data), len(data))
    upload_blob(client, repository, data, descriptor, **options)
    return descriptor


def _push(client, repository, tag, *, seed=0, architecture="amd64", oci=True):
    rootfs = {"type": "layers", "diff_ids": [sha256_digest(b"%d" % seed)]}
    config = canonical_json({"os": "linux", "architecture": architecture, "rootfs": rootfs})
    media_type = OCI_MANIFEST if oci else DOCKER_MANIFEST
    data = Manifest.build(
        media_type=media_type,
        config=_upload(client, repository, config, OCI_CONFIG if oci else DOCKER_CONFIG),
        layers=[_upload(client, repository, random_bytes(50_000, seed), OCI_LAYER_GZIP if oci else DOCKER_LAYER_GZIP)],
    )
    return Descriptor(media_type, client.put_manifest(repository, tag, data, media_type), len(data))


@pytest.mark.parametrize("oci", [True, False])
def test_a_pushed_image_is_resolved_and_read_back(any_registry, real, oci):
    repository = any_registry.unique()
    pushed = _push(real, repository, "1", oci=oci)
    assert real.head_manifest(repository, "1") == pushed
    resolved = resolve(real, Reference.parse(f"{any_registry.host}/{repository}:1"), None)
    assert resolved.digest == resolved.manifest_digest == pushed.digest
    assert resolved.platform == Platform("linux", "amd64")
    with real.open_blob(repository, resolved.manifest.layers[0]) as reader:
        assert reader.read() == random_bytes(50_000)


def test_a_push_needs_five_requests(any_registry, real):
    repository = any_registry.unique()
    with any_registry.recording() as log:
        _push(real, repository, "1")
    assert [(line.method, line.status) for line in log] == [("POST", 202), ("PUT", 201)] * 2 + [("PUT", 201)]


def test_an_index_is_resolved_to_the_requested_platform(any_registry, real):
    repository = any_registry.unique()
    entries = []
    for seed, architecture in enumerate(("arm64", "amd64")):
        stored = _push(real, repository, architecture, seed=seed, architecture=architecture)
        entries.append(stored._replace(extra={"platform": {"os": "linux", "architecture": architecture}}).to_json())
    index = canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    digest = real.put_manifest(repository, "all", index, OCI_INDEX)
    reference = Reference.parse(f"{any_registry.host}/{repository}:all")
    for platform, name in ((None, "amd64"), (Platform("linux", "arm64"), "arm64")):
        resolved = resolve(real, reference, platform)
        assert resolved.digest == digest
        assert resolved.manifest_digest == real.head_manifest(repository, name).digest


def test_missing_manifests_and_blobs_are_missing(any_registry, real):
    repository = any_registry.unique()
    assert real.head_manifest(repository, "1") is None
    assert not real.has_blob(repository, Descriptor("", sha256_digest(b"nothing"), 7))
    with pytest.raises(ImageNotFound, match=f"{repository}:1"):
        real.get_manifest(repository, "1")
    with pytest.raises(ImageNotFound, match="has no blob"):
        real.get_blob(repository, Descriptor("", sha256_digest(b"nothing"), 7))


def test_an_existing_blob_is_mounted(any_registry, real):
    source, target = any_registry.unique(), any_registry.unique()
    blob = _upload(real, source, random_bytes(1000, 3))
    assert real.mount(target, blob, source) is None
    assert real.has_blob(target, blob)
    location = real.mount(target, Descriptor("", sha256_digest(b"not there"), 9), source)
    _upload(real, target, b"not there", location=location)
    assert real.has_blob(target, Descriptor("", sha256_digest(b"not there"), 9))


def test_an_upload_in_chunks_is_complete(any_registry, real, monkeypatch):
    monkeypatch.setattr("topcoat.registry.upload_session._CHUNK", 300_000)
    repository, data = any_registry.unique(), random_bytes(1_000_000, 4)
    descriptor = Descriptor("", sha256_digest(data), len(data))
    with any_registry.recording() as log:
        location = real.start_upload(repository)
        real.finish_upload(repository, location, io.BytesIO(data), descriptor, chunked=True)
    assert log.count("PATCH") == 4
    assert real.get_blob(repository, descriptor) == data


def test_the_error_for_a_missing_blob_has_its_code(any_registry, real):
    repository = any_registry.unique()
    config = _upload(real, repository, b"{}", OCI_CONFIG)
    missing = Descriptor(OCI_LAYER_GZIP, sha256_digest(b"never sent"), 10)
    data = Manifest.build(media_type=OCI_MANIFEST, config=config, layers=[missing])
    with pytest.raises(RegistryError, match=missing.digest) as caught:
        real.put_manifest(repository, "1", data, OCI_MANIFEST)
    assert caught.value.registry_code == "MANIFEST_BLOB_UNKNOWN"


def test_a_cancelled_session_is_replaced(any_registry, real):
    repository = any_registry.unique()
    location = real.start_upload(repository)
    real.cancel_upload(repository, location)
    with any_registry.recording() as log:
        blob = _upload(real, repository, random_bytes(1000, 5), location=location)
    assert [(line.method, line.status) for line in log] == [("PUT", 404), ("POST", 202), ("PUT", 201)]
    assert real.has_blob(repository, blob)


def test_a_blob_is_streamed_from_one_registry_to_another(registry, any_registry, real):
    source, target = registry.unique(), any_registry.unique()
    with RegistryClient(registry.host) as reader:
        data = random_bytes(3_000_000, 6)
        blob = _upload(reader, source, data)
        with reader.open_blob(source, blob) as body:
            upload_blob(real, target, body, blob)
    assert real.get_blob(target, blob) == data


def test_threads_push_at_the_same_time(any_registry, real):
    repository = any_registry.unique()
    threads = [threading.Thread(target=_push, args=(real, repository, f"t{n}"), kwargs={"seed": n}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(real.head_manifest(repository, f"t{n}") for n in range(8))


def test_tls_and_a_login_are_enough_to_push(home, tls_registry, tls_client):
    docker_login(home, tls_registry.host, tls_registry.username, tls_registry.password)
    repository = tls_registry.unique()
    pushed = _push(tls_client, repository, "1")
    assert tls_client.head_manifest(repository, "1") == pushed
    resolved = resolve(tls_client, Reference.parse(f"{tls_registry.host}/{repository}:1"), None)
    assert resolved.digest == pushed.digest


def test_a_loopback_registry_with_tls_needs_no_configuration(home, tls_registry):
    docker_login(home, tls_registry.host, tls_registry.username, tls_registry.password)
    with RegistryClient(tls_registry.host) as client:
        assert client.head_manifest(tls_registry.unique(), "1") is None


def test_a_missing_login_is_an_error_with_the_login_command(tls_registry, tls_client):
    with pytest.raises(AuthenticationFailed, match="needs a login") as caught:
        tls_client.get_manifest("app", "1")
    assert caught.value.hint == f"docker login {tls_registry.host}"


def test_a_wrong_password_is_refused(home, tls_registry, tls_client):
    docker_login(home, tls_registry.host, tls_registry.username, "wrong")
    with pytest.raises(AuthenticationFailed, match=f"as {tls_registry.username}"):
        tls_client.get_manifest("app", "1")


def test_an_unknown_authority_is_refused_with_a_hint(tls_registry):
    with (
        RegistryClient(tls_registry.host, insecure=False) as client,
        pytest.raises(RegistryUnavailable, match="invalid TLS certificate") as caught,
    ):
        client.get_manifest("app", "1")
    assert "ca.crt" in caught.value.hint
