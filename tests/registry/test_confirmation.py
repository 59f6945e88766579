"""Anything can answer in a registry's place: a response counts only if it says what the protocol says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from topcoat.errors import InvalidImage, RegistryError
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_CONFIG, OCI_MANIFEST, Manifest
from topcoat.registry.client import RegistryClient
from topcoat.registry.upload import upload_blob
from topcoat.testing.registry import FakeRegistry

_BLOB = b"some layer"
_DESCRIPTOR = Descriptor("", sha256_digest(_BLOB), len(_BLOB))
_PAGE = b"<html>Welcome to the hotel</html>"
_HTML = {"Content-Type": "text/html"}
_OTHER = "sha256:" + "0" * 64


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def client(fake: FakeRegistry) -> Iterator[RegistryClient]:
    with RegistryClient(fake.host) as client:
        yield client


def _manifest(fake: FakeRegistry, repository: str = "app") -> bytes:
    return Manifest.build(media_type=OCI_MANIFEST, config=fake.add_blob(repository, b"{}", OCI_CONFIG), layers=[])


class TestManifests:
    @pytest.mark.parametrize("body", [_PAGE, b"", b"[]", b"{}", b'{"login": "https://sso.example.com"}'])
    @pytest.mark.parametrize("headers", [_HTML, {"Content-Type": "application/json"}, {}])
    def test_a_page_in_the_place_of_a_manifest_is_an_error_that_names_the_image(
        self, fake: FakeRegistry, client: RegistryClient, body: bytes, headers: dict[str, str]
    ) -> None:
        fake.add_image("base", "1")
        fake.fail(200, times=9, headers=headers, body=body)
        with pytest.raises(InvalidImage, match=f"cannot read the manifest of {fake.host}/base:1"):
            client.head_manifest("base", "1")

    @pytest.mark.parametrize("digest", ["", _OTHER])
    def test_a_page_that_answers_a_head_request_is_asked_for_the_manifest(
        self, fake: FakeRegistry, client: RegistryClient, digest: str
    ) -> None:
        stored = fake.add_image("base", "1")
        headers = {**_HTML, **({"Docker-Content-Digest": digest} if digest else {})}
        fake.fail(200, method="HEAD", headers=headers, body=_PAGE)
        head = client.head_manifest("base", "1")
        assert head is not None
        assert head.digest == stored.digest

    def test_a_head_request_for_one_digest_that_is_answered_with_another_is_asked_again(
        self, fake: FakeRegistry, client: RegistryClient
    ) -> None:
        stored = fake.add_image("base", "1")
        fake.fail(
            200, method="HEAD", headers={"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": _OTHER}, body=b"x"
        )
        assert client.head_manifest("base", stored.digest) == stored._replace(extra={})

    @pytest.mark.parametrize(
        ("status", "headers", "body"), [(200, {}, b""), (200, _HTML, _PAGE), (202, {}, b""), (201, {}, b"")]
    )
    def test_a_put_that_does_not_say_what_was_stored_is_asked_for(
        self, fake: FakeRegistry, client: RegistryClient, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        data = _manifest(fake)
        fake.fail(status, method="PUT", headers=headers, body=body)
        with pytest.raises(RegistryError, match=f"status {status} and does not have it") as raised:
            client.put_manifest("app", "v1", data, OCI_MANIFEST)
        assert raised.value.hint
        fake.store_manifest("app", "v1", data, OCI_MANIFEST)
        fake.fail(status, method="PUT", headers=headers, body=body)
        assert client.put_manifest("app", "v1", data, OCI_MANIFEST) == sha256_digest(data)

    def test_a_put_that_leaves_another_image_there_is_an_error_with_both_digests(
        self, fake: FakeRegistry, client: RegistryClient
    ) -> None:
        other = fake.add_image("app", "v1")
        data = _manifest(fake)
        fake.fail(200, method="PUT")
        with pytest.raises(RegistryError, match=f"{other.digest} there, not {sha256_digest(data)}"):
            client.put_manifest("app", "v1", data, OCI_MANIFEST)

    def test_a_location_with_the_digest_is_proof_enough(self, fake: FakeRegistry, client: RegistryClient) -> None:
        data = _manifest(fake)
        location = f"/v2/app/manifests/{sha256_digest(data).replace(':', '%3A')}?x=1"
        fake.fail(201, method="PUT", headers={"Location": location})
        client.put_manifest("app", "v1", data, OCI_MANIFEST)
        assert [request.method for request in fake.requests] == ["PUT"]


class TestBlobs:
    @pytest.mark.parametrize(
        ("headers", "body"),
        [(_HTML, _PAGE), ({}, b""), ({"Docker-Content-Digest": _OTHER}, _BLOB), ({"Content-Length": "11"}, b"")],
    )
    def test_a_page_that_answers_for_a_blob_does_not_make_it_exist(
        self, fake: FakeRegistry, client: RegistryClient, headers: dict[str, str], body: bytes
    ) -> None:
        fake.add_repository("app")
        fake.fail(200, times=2, headers=headers, body=body)
        assert not client.has_blob("app", _DESCRIPTOR)

    @pytest.mark.parametrize("quirks", [(), ("no-digest-header",), ("no-length-header",)])
    def test_a_blob_is_known_by_its_digest_or_its_size(self, quirks: tuple[str, ...]) -> None:
        with FakeRegistry(quirks=quirks) as fake, RegistryClient(fake.host) as client:
            fake.add_blob("app", _BLOB)
            assert client.has_blob("app", _DESCRIPTOR)
            assert [request.method for request in fake.requests] == ["HEAD"]

    @pytest.mark.parametrize("quirks", [("no-digest-header", "no-length-header")])
    def test_a_blob_of_which_nothing_is_stated_is_read(self, quirks: tuple[str, ...]) -> None:
        with FakeRegistry(quirks=quirks) as fake, RegistryClient(fake.host) as client:
            fake.add_blob("app", _BLOB)
            assert client.has_blob("app", _DESCRIPTOR)
            assert not client.has_blob("app", _DESCRIPTOR._replace(size=9))

    @pytest.mark.parametrize(
        "answer",
        [
            lambda fake: fake.fail(200, method="PUT"),
            lambda fake: fake.fail(200, method="PUT", headers=_HTML, body=_PAGE),
            lambda fake: fake.fail(201, method="PUT", headers={"Docker-Content-Digest": _OTHER}),
            lambda fake: fake.fail(204, method="PUT"),
        ],
    )
    def test_an_upload_that_was_not_stored_is_repeated(
        self, fake: FakeRegistry, client: RegistryClient, answer: Callable[[FakeRegistry], None], waits: Any
    ) -> None:
        answer(fake)
        upload_blob(client, "app", _BLOB, _DESCRIPTOR)
        assert _DESCRIPTOR.digest in fake.repositories["app"].blobs
        assert [request.method for request in fake.requests].count("PUT") == 2

    def test_an_upload_that_is_never_stored_is_an_error(
        self, fake: FakeRegistry, client: RegistryClient, waits: Any
    ) -> None:
        fake.fail(200, times=9, method="PUT", headers=_HTML, body=_PAGE)
        fake.fail(202, times=9, method="PATCH", headers={"Location": "/v2/app/blobs/uploads/x"})
        with pytest.raises(RegistryError, match="status 200, and does not have it"):
            upload_blob(client, "app", _BLOB, _DESCRIPTOR)

    @pytest.mark.parametrize("headers", [{}, _HTML, {"Docker-Content-Digest": _OTHER}])
    def test_a_mount_that_does_not_say_what_was_mounted_is_asked_for(
        self, fake: FakeRegistry, client: RegistryClient, headers: dict[str, str]
    ) -> None:
        blob = fake.add_blob("base", _BLOB)
        fake.add_repository("app")
        fake.fail(201, method="POST", headers=headers)
        assert client.mount("app", blob, "base") is not None
        fake.fail(201, method="POST", headers=headers)
        fake.add_blob("app", _BLOB)
        assert client.mount("app", blob, "base") is None

    def test_a_connection_that_is_cut_at_a_mount_is_tried_again(
        self, fake: FakeRegistry, client: RegistryClient, waits: Any
    ) -> None:
        blob = fake.add_blob("base", _BLOB)
        fake.cut(times=2, method="POST", path="mount=")
        assert client.mount("app", blob, "base") is None
        assert blob.digest in fake.repositories["app"].blobs
