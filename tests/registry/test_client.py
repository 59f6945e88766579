import base64
import subprocess
import sys
import threading

import pytest

from topcoat.errors import AuthenticationFailed, ImageNotFound, InvalidImage, RegistryError
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Manifest, parse
from topcoat.registry.client import RegistryClient
from topcoat.testing.registry import FakeRegistry

from .conftest import docker_login, random_bytes, request_log

_BLOB = b"some layer"
_DESCRIPTOR = Descriptor(OCI_LAYER_GZIP, sha256_digest(_BLOB), len(_BLOB))


def _manifest(registry, repository="app", layers=()):
    config = registry.add_blob(repository, b"{}", OCI_CONFIG)
    return Manifest.build(media_type=OCI_MANIFEST, config=config, layers=layers)


@pytest.fixture
def quirky():
    """Make registries with quirks, and their clients, which are closed after the test."""
    made = []

    def make(*quirks, **options):
        registry = FakeRegistry(quirks=quirks, **options)
        made.append(registry.__enter__())
        made.append(RegistryClient(registry.host))
        return registry, made[-1]

    yield make
    for item in reversed(made):
        item.__exit__(None, None, None)


def test_importing_the_client_imports_no_slow_modules():
    heavy = [
        "http.client",
        "ssl",
        "email",
        "subprocess",
        "dataclasses",
        "inspect",
        "logging",
        "urllib.request",
        "asyncio",
    ]
    code = f"import sys, topcoat.registry.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plain_http_needs_no_slow_modules(fake):
    heavy = ["http.client", "ssl", "email", "encodings.idna"]
    fake.add_image("base", "1")
    code = (
        "import sys; from topcoat.registry.client import RegistryClient; "
        "found = RegistryClient(sys.argv[1]).head_manifest('base', '1'); "
        f"print(found.size > 0, [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, fake.host], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"


class TestHeadManifest:
    def test_a_tag_is_resolved_with_one_request(self, fake, client):
        stored = fake.add_image("base", "1")
        assert client.head_manifest("base", "1") == stored._replace(extra={})
        assert client.head_manifest("base", stored.digest).digest == stored.digest
        assert request_log(fake) == [("HEAD", 200)] * 2

    def test_head_of_a_missing_tag_or_repository_returns_none(self, fake, client):
        fake.add_image("base", "1")
        assert client.head_manifest("base", "2") is None
        assert client.head_manifest("other", "1") is None

    def test_head_with_status_403_returns_none(self, quirky):
        registry, client = quirky("forbidden-for-missing")
        assert client.head_manifest("base", "2") is None
        assert request_log(registry) == [("HEAD", 403)]

    @pytest.mark.parametrize("quirk", ["no-digest-header", "no-head"])
    def test_a_head_without_a_digest_is_followed_by_a_get(self, quirky, quirk):
        registry, client = quirky(quirk)
        stored = registry.add_image("base", "1")
        assert client.head_manifest("base", "1").digest == stored.digest
        assert [method for method, _ in request_log(registry)] == ["HEAD", "GET"]
        if quirk == "no-head":
            assert client.head_manifest("base", "2") is None

    def test_every_kind_of_manifest_is_accepted(self, fake, client):
        client.head_manifest("base", "1")
        accept = fake.requests[0].headers["accept"]
        assert "oci.image.index" in accept
        assert "oci.image.manifest" in accept
        assert "distribution.manifest.list.v2" in accept
        assert "distribution.manifest.v2" in accept

    def test_a_server_error_is_not_a_missing_tag(self, fake, client):
        fake.fail(500, times=9)
        with pytest.raises(RegistryError, match="500"):
            client.head_manifest("base", "1")


class TestGetManifest:
    def test_the_descriptor_and_the_bytes_are_returned(self, fake, client):
        stored = fake.add_image("base", "1")
        descriptor, data = client.get_manifest("base", "1")
        assert descriptor == stored._replace(extra={})
        assert sha256_digest(data) == stored.digest
        assert client.get_manifest("base", stored.digest) == (descriptor, data)

    def test_without_a_digest_header_the_digest_is_computed(self, quirky):
        registry, client = quirky("no-digest-header")
        assert client.get_manifest("base", registry.add_image("base", "1").digest)[0].digest
        assert client.get_manifest("base", "1")[0].digest == registry.repositories["base"].tags["1"]

    @pytest.mark.parametrize(
        ("identifier", "name"), [("2", "base:2"), ("sha256:" + "0" * 64, "base@sha256:" + "0" * 64)]
    )
    def test_a_missing_image_is_named(self, fake, client, identifier, name):
        fake.add_image("base", "1")
        with pytest.raises(ImageNotFound, match=f"there is no image {fake.host}/{name}") as caught:
            client.get_manifest("base", identifier)
        assert caught.value.hint

    def test_denied_access_is_not_a_missing_image(self, fake, client):
        fake.fail(403)
        with pytest.raises(AuthenticationFailed, match="denies access to base"):
            client.get_manifest("base", "1")

    def test_content_that_does_not_match_the_digest_is_refused(self, fake, client):
        stored = fake.add_image("base", "1")
        media_type, data = fake.repositories["base"].manifests[stored.digest]
        fake.repositories["base"].manifests[stored.digest] = (media_type, data + b" ")
        for identifier in ("1", stored.digest):
            with pytest.raises(RegistryError, match="does not match its digest") as caught:
                client.get_manifest("base", identifier)
            assert caught.value.temporary

    def test_a_manifest_is_read_again_after_the_connection_broke(self, fake, client):
        stored = fake.add_image("base", "1")
        fake.cut(after=10)
        assert client.get_manifest("base", "1")[0].digest == stored.digest
        fake.cut(after=10, times=2)
        with pytest.raises(RegistryError, match="the server closed the connection"):
            client.get_manifest("base", "1")

    def test_a_manifest_is_not_read_beyond_the_maximum(self, fake, client, monkeypatch):
        monkeypatch.setattr("topcoat.registry.client._MAX_MANIFEST_BYTES", 100)
        fake.add_image("base", "1")
        with pytest.raises(InvalidImage, match="larger than 100 bytes"):
            client.get_manifest("base", "1")


class TestBlobs:
    def test_an_existing_blob_is_found_and_read(self, fake, client):
        blob = fake.add_blob("base", _BLOB)
        assert client.has_blob("base", blob)
        assert not client.has_blob("other", blob)
        assert client.get_blob("base", blob) == _BLOB

    def test_content_in_the_descriptor_is_not_requested(self, fake, client):
        carried = _DESCRIPTOR._replace(extra={"data": base64.b64encode(_BLOB).decode()})
        assert client.get_blob("base", carried) == _BLOB
        assert fake.requests == []

    @pytest.mark.parametrize("data", ["not base64!", base64.b64encode(b"other").decode(), 7])
    def test_wrong_content_in_the_descriptor_is_ignored(self, fake, client, data):
        fake.add_blob("base", _BLOB)
        assert client.get_blob("base", _DESCRIPTOR._replace(extra={"data": data})) == _BLOB

    @pytest.mark.parametrize(("status", "found"), [(403, False), (404, False)])
    def test_a_blob_with_status_403_counts_as_missing(self, fake, client, status, found):
        fake.fail(status)
        assert client.has_blob("base", _DESCRIPTOR) is found

    def test_a_server_error_is_not_a_missing_blob(self, fake, client):
        fake.fail(500, times=9)
        with pytest.raises(RegistryError, match="500"):
            client.has_blob("base", _DESCRIPTOR)


class TestMount:
    @pytest.fixture
    def source(self, fake):
        return fake.add_blob("base", _BLOB)

    def test_a_blob_of_another_repository_is_mounted(self, fake, client, source):
        assert client.mount("app", source, "base") is None
        assert client.has_blob("app", source)
        assert request_log(fake) == [("POST", 201), ("HEAD", 200)]

    def test_mounting_an_unknown_blob_opens_a_session(self, fake, client, source):
        location = client.mount("app", Descriptor("", "sha256:" + "0" * 64, 1), "base")
        client.finish_upload("app", location, _BLOB, source)
        assert request_log(fake) == [("POST", 202), ("PUT", 201)]

    @pytest.mark.parametrize(("quirk", "requests"), [("no-mount", ["POST"]), ("mount-refused", ["POST", "POST"])])
    def test_a_registry_that_cannot_mount_opens_a_session(self, quirky, quirk, requests):
        registry, client = quirky(quirk)
        blob = registry.add_blob("base", _BLOB)
        location = client.mount("app", blob, "base")
        assert [method for method, _ in request_log(registry)] == requests
        client.finish_upload("app", location, _BLOB, blob)
        assert blob.digest in registry.repositories["app"].blobs

    def test_mounting_from_a_denied_source_opens_a_session(self, quirky, home):
        registry, client = quirky(auth="bearer")
        docker_login(home, registry.host)
        registry.fail(403, path="scope=repository%3Abase")
        location = client.mount("app", _DESCRIPTOR, "base")
        client.finish_upload("app", location, _BLOB, _DESCRIPTOR)
        assert _DESCRIPTOR.digest in registry.repositories["app"].blobs


class TestUpload:
    def test_an_upload_needs_two_requests(self, fake, client):
        client.finish_upload("app", client.start_upload("app"), _BLOB, _DESCRIPTOR)
        assert fake.blobs[_DESCRIPTOR.digest] == _BLOB
        assert request_log(fake) == [("POST", 202), ("PUT", 201)]
        assert fake.requests[1].sent == len(_BLOB)
        assert fake.requests[1].headers["content-length"] == str(len(_BLOB))

    def test_a_file_is_sent_from_its_current_position(self, fake, client, tmp_path):
        data = random_bytes(5_000_000)
        path = tmp_path / "blob"
        path.write_bytes(b"head" + data)
        with path.open("rb") as file:
            file.seek(4)
            descriptor = Descriptor("", sha256_digest(data), len(data))
            client.finish_upload("app", client.start_upload("app"), file, descriptor)
        assert fake.blobs[descriptor.digest] == data

    @pytest.mark.parametrize("quirk", ["state-in-location", "lost-port-location", "upload-elsewhere"])
    def test_the_location_of_a_session_is_followed(self, quirky, home, quirk):
        registry, client = quirky(quirk, auth="basic")
        docker_login(home, registry.host)
        client.finish_upload("app", client.start_upload("app"), _BLOB, _DESCRIPTOR)
        assert registry.blobs[_DESCRIPTOR.digest] == _BLOB
        last = registry.requests[-1]
        assert ("authorization" in last.headers) is (quirk != "upload-elsewhere")

    @pytest.mark.parametrize("quirk", ["state-in-location", "lost-port-location", "upload-elsewhere"])
    def test_chunks_follow_the_location_of_the_session(self, quirky, quirk, monkeypatch):
        monkeypatch.setattr("topcoat.registry.upload_session._CHUNK", 4)
        registry, client = quirky(quirk)
        client.finish_upload("app", client.start_upload("app"), _BLOB, _DESCRIPTOR, chunked=True)
        assert registry.blobs[_DESCRIPTOR.digest] == _BLOB
        assert request_log(registry) == [("POST", 202), *[("PATCH", 202)] * 3, ("PUT", 201)]

    def test_a_body_of_the_wrong_size_is_not_sent(self, fake, client):
        location = client.start_upload("app")
        with pytest.raises(InvalidImage, match="has 10 bytes, expected 11"):
            client.finish_upload("app", location, _BLOB, _DESCRIPTOR._replace(size=11))
        assert request_log(fake) == [("POST", 202)]

    def test_a_wrong_digest_is_refused_by_the_registry(self, fake, client):
        wrong = _DESCRIPTOR._replace(digest="sha256:" + "0" * 64)
        with pytest.raises(RegistryError, match="DIGEST_INVALID") as caught:
            client.finish_upload("app", client.start_upload("app"), _BLOB, wrong)
        assert caught.value.registry_code == "DIGEST_INVALID"

    def test_a_missing_repository_is_an_error_that_says_to_make_it(self, quirky):
        registry, client = quirky("closed-repositories")
        with pytest.raises(RegistryError, match="NAME_UNKNOWN") as caught:
            client.start_upload("app")
        assert caught.value.hint == "make the repository app first"
        registry.add_repository("app")
        assert client.start_upload("app")

    def test_a_session_can_be_cancelled_twice(self, fake, client):
        location = client.start_upload("app")
        client.cancel_upload("app", location)
        client.cancel_upload("app", location)
        assert request_log(fake) == [("POST", 202), ("DELETE", 204), ("DELETE", 404)]
        assert fake.uploads == {}

    def test_cancelling_a_session_never_fails(self, fake, client):
        location = client.start_upload("app")
        fake.cut(times=9)
        client.cancel_upload("app", location)

    def test_a_response_without_a_location_is_an_error(self, fake, client):
        fake.fail(202, method="POST")
        with pytest.raises(RegistryError, match="sent status 202 without a Location"):
            client.start_upload("app")


class TestPutManifest:
    def test_a_manifest_is_stored_under_its_tag_and_its_digest(self, fake, client):
        data = _manifest(fake)
        digest = client.put_manifest("app", "v1", data, OCI_MANIFEST)
        assert digest == sha256_digest(data)
        for identifier in ("v1", digest):
            assert parse(client.get_manifest("app", identifier)[1]).media_type == OCI_MANIFEST
        assert client.put_manifest("app", digest, data, OCI_MANIFEST) == digest

    def test_the_error_for_a_missing_blob_has_its_code_and_digest(self, fake, client):
        data = _manifest(fake, layers=[_DESCRIPTOR])
        with pytest.raises(RegistryError, match=_DESCRIPTOR.digest) as caught:
            client.put_manifest("app", "v1", data, OCI_MANIFEST)
        assert caught.value.registry_code == "MANIFEST_BLOB_UNKNOWN"

    def test_a_registry_may_store_a_manifest_with_a_missing_blob(self, quirky):
        registry, client = quirky("accepts-broken")
        client.put_manifest("app", "v1", _manifest(registry, layers=[_DESCRIPTOR]), OCI_MANIFEST)
        assert client.head_manifest("app", "v1")
        assert not client.has_blob("app", _DESCRIPTOR)

    def test_an_immutable_tag_is_refused(self, quirky):
        registry, client = quirky("immutable-tags")
        registry.add_image("app", "v1")
        with pytest.raises(RegistryError, match="immutable") as caught:
            client.put_manifest("app", "v1", _manifest(registry), OCI_MANIFEST)
        assert not caught.value.temporary

    def test_a_manifest_is_sent_again_after_a_server_error(self, fake, client):
        data = _manifest(fake)
        fake.fail(503, method="PUT")
        fake.cut(method="PUT")
        client.put_manifest("app", "v1", data, OCI_MANIFEST)
        assert [r.sent for r in fake.requests if r.method == "PUT"] == [len(data)] * 3

    def test_a_registry_that_states_another_digest_is_an_error(self, fake, client):
        fake.fail(201, method="PUT", headers={"Docker-Content-Digest": "sha256:" + "0" * 64})
        with pytest.raises(RegistryError, match="answered the push of app:v1 with status 201 and does not have it"):
            client.put_manifest("app", "v1", _manifest(fake), OCI_MANIFEST)


def test_html_from_a_proxy_is_not_shown(quirky):
    registry, client = quirky("html-errors")
    with pytest.raises(RegistryError) as caught:
        client.put_manifest("app", "v1", _manifest(registry, layers=[_DESCRIPTOR]), OCI_MANIFEST)
    assert "<" not in str(caught.value)


def test_threads_share_a_client_and_its_connections(fake, client):
    blobs = [random_bytes(200_000, seed) for seed in range(12)]

    def work(data):
        descriptor = Descriptor("", sha256_digest(data), len(data))
        client.finish_upload("app", client.start_upload("app"), data, descriptor)
        assert client.get_blob("app", descriptor) == data

    threads = [threading.Thread(target=work, args=(data,)) for data in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(fake.blobs.values()) == set(blobs)
    assert len(fake.requests) == 36


@pytest.mark.parametrize("status", [400, 405, 406, 410, 501])
def test_where_head_is_refused_get_says_what_exists(fake, client, status):
    digest = fake.add_image("app", "1").digest
    blob = fake.add_blob("app", b"blob")
    fake.fail(status, method="HEAD", times=4, headers={"Content-Type": "application/json"})
    assert client.head_manifest("app", "1").digest == digest
    assert client.head_manifest("app", "2") is None
    assert client.has_blob("app", blob)
    assert not client.has_blob("app", Descriptor("", sha256_digest(b"other"), 5))


def test_a_manifest_that_is_gone_does_not_exist(fake, client):
    for method in ("HEAD", "GET"):
        fake.fail(410, method=method)
    assert client.head_manifest("app", "1") is None


def test_a_storage_host_that_refuses_head_says_nothing_about_the_manifest():
    with FakeRegistry(quirks={"redirect-manifests"}) as registry, RegistryClient(registry.host) as client:
        digest = registry.add_image("app", "1").digest
        registry.fail(307, method="HEAD", headers={"Location": f"http://{registry.storage_host}/v2/x"})
        registry.fail(403, method="HEAD")
        assert client.head_manifest("app", "1").digest == digest


@pytest.mark.parametrize("content_range", ["bytes 0-9/10", "bytes x", ""])
def test_a_range_that_does_not_continue_is_refused(fake, client, content_range):
    data = bytes(range(256)) * 4096
    blob = fake.add_blob("app", data)
    fake.cut(method="GET", after=1000)
    with client.open_blob("app", blob) as reader:
        fake.fail(206, method="GET", body=data[:10], headers={"Content-Range": content_range})
        with pytest.raises(RegistryError, match="does not continue it at 1000"):
            reader.read()


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, b"[]"), (200, b'{"tags": null}'), (404, b""), (405, b"")])
def test_a_registry_that_lists_no_tags_is_taken_for_an_empty_one(fake, client, answer):
    fake.add_image("app", "1")
    assert client.has_tags("app")
    assert not client.has_tags("other")
    fake.fail(answer[0], path="tags/list", body=answer[1])
    assert not client.has_tags("app")
