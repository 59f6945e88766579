import io

import pytest

from topcoat.errors import InvalidImage, RegistryError, RegistryUnavailable
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.registry.client import RegistryClient
from topcoat.registry.upload import upload_blob
from topcoat.testing.registry import FakeRegistry

from .conftest import random_bytes, request_log

_DATA = random_bytes(1_000_000)
_DESCRIPTOR = Descriptor("", sha256_digest(_DATA), len(_DATA))


def _upload(client, body=None, **options):
    upload_blob(client, "app", _DATA if body is None else body, _DESCRIPTOR, **options)


@pytest.fixture
def _stored(fake):
    yield
    assert fake.blobs[_DESCRIPTOR.digest] == _DATA


@pytest.mark.usefixtures("_stored")
class TestThatEndsWell:
    def test_bytes_and_files_are_uploaded(self, fake, client):
        _upload(client)
        fake.lose_blob(_DESCRIPTOR.digest)
        file = io.BytesIO(b"12" + _DATA)
        file.seek(2)
        _upload(client, file)
        assert request_log(fake) == [("POST", 202), ("PUT", 201)] * 2

    def test_an_open_session_is_used(self, fake, client):
        _upload(client, location=client.start_upload("app"))
        assert request_log(fake) == [("POST", 202), ("PUT", 201)]

    @pytest.mark.parametrize("status", [404, 416, 429, 500, 502, 503])
    def test_a_failed_put_starts_over_in_a_new_session(self, fake, client, waits, status):
        fake.fail(status, method="PUT")
        file = io.BytesIO(b"12" + _DATA)
        file.seek(2)
        _upload(client, file)
        assert request_log(fake) == [("POST", 202), ("PUT", status), ("POST", 202), ("PUT", 201)]
        assert len(waits) == 1

    @pytest.mark.parametrize("code", ["BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "SIZE_INVALID"])
    def test_a_damaged_session_is_replaced(self, fake, client, code):
        fake.fail(400, method="PUT", body=b'{"errors":[{"code":"%b"}]}' % code.encode())
        _upload(client)
        assert request_log(fake) == [("POST", 202), ("PUT", 400), ("POST", 202), ("PUT", 201)]

    def test_an_expired_session_is_replaced(self, fake, client):
        location = client.start_upload("app")
        fake.uploads.clear()
        _upload(client, location=location)
        assert request_log(fake) == [("POST", 202), ("PUT", 404), ("POST", 202), ("PUT", 201)]

    def test_an_upload_on_a_cut_connection_starts_over(self, fake, client, waits):
        # Once for the kept connection, which counts as stale, and once for a fresh one.
        fake.cut(method="PUT", times=2)
        _upload(client)
        assert [r.status for r in fake.requests] == [202, 0, 0, 202, 201]
        assert len(waits) == 1

    def test_the_last_attempt_is_made_in_chunks(self, fake, client, monkeypatch):
        monkeypatch.setattr("topcoat.registry.upload_session._CHUNK", 400_000)
        fake.fail(500, method="PUT", times=2)
        _upload(client)
        methods = [method for method, _ in request_log(fake)]
        assert methods == ["POST", "PUT", "POST", "PUT", "POST", "PATCH", "PATCH", "PATCH", "PUT"]


def test_an_upload_ends_after_three_attempts(fake, client):
    fake.fail(500, times=99, method="PUT")
    with pytest.raises(RegistryError, match="500") as caught:
        _upload(client)
    assert caught.value.temporary
    assert len([r for r in fake.requests if r.method == "POST"]) == 3


def test_a_permanent_refusal_is_not_retried(fake, client, waits):
    fake.fail(403, method="PUT")
    with pytest.raises(RegistryError, match="denies access"):
        _upload(client)
    assert request_log(fake) == [("POST", 202), ("PUT", 403)]
    assert waits == []


def test_a_body_of_the_wrong_size_is_not_retried(fake, client):
    with pytest.raises(InvalidImage):
        _upload(client, b"short")
    assert [method for method, _ in request_log(fake)] == ["POST"]


def test_a_blob_is_streamed_from_one_registry_to_another(fake, client):
    with FakeRegistry() as source, RegistryClient(source.host) as reader:
        blob = source.add_blob("base", _DATA)
        fake.fail(500, method="PUT")
        source.cut(after=300_000, method="GET")
        with reader.open_blob("base", blob) as body:
            _upload(client, body)
        assert fake.blobs[blob.digest] == _DATA
        # Broken and resumed, then read again for the second attempt.
        assert [r.headers.get("range") for r in source.requests] == [None, "bytes=300000-", None]


def test_a_blob_is_streamed_within_one_registry(fake, client):
    blob = fake.add_blob("base", _DATA)
    with client.open_blob("base", blob) as body:
        _upload(client, body)
    assert blob.digest in fake.repositories["app"].blobs


def test_an_upload_ends_if_its_source_fails(fake, client):
    with FakeRegistry() as source, RegistryClient(source.host) as reader:
        blob = source.add_blob("base", _DATA)
        with reader.open_blob("base", blob) as body:
            source.cut(times=99, method="GET")
            source.cut(times=99)
            body.read(10)
            body.seek(0)
            with pytest.raises(RegistryUnavailable, match=f"request to {source.host} failed"):
                _upload(client, body)
    assert _DESCRIPTOR.digest not in fake.blobs
