import io

import pytest

from topcoat.errors import RegistryError
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.registry.client import RegistryClient
from topcoat.testing.registry import FakeRegistry

from .conftest import random_bytes, request_log

_DATA = random_bytes(3_000_000)
_DESCRIPTOR = Descriptor("", sha256_digest(_DATA), len(_DATA))


def _push(client, data=_DATA, *, chunked=False):
    descriptor = Descriptor("", sha256_digest(data), len(data))
    client.finish_upload("app", client.start_upload("app"), io.BytesIO(data), descriptor, chunked=chunked)


def _sizes(registry):
    return [r.sent for r in registry.requests if r.method == "PATCH" and r.status == 202]


def test_a_body_that_is_too_large_is_sent_in_chunks_that_are_small_enough(monkeypatch):
    monkeypatch.setattr("topcoat.registry.upload_session._CHUNK", 2_000_000)
    with FakeRegistry(put_limit=600_000) as registry, RegistryClient(registry.host) as client:
        _push(client)
        assert registry.blobs[_DESCRIPTOR.digest] == _DATA
        assert _sizes(registry) == [500_000] * 6
        assert registry.uploads == {}


def test_the_next_large_body_is_sent_in_chunks_at_once(monkeypatch):
    monkeypatch.setattr("topcoat.registry.upload_session._CHUNK", 500_000)
    with FakeRegistry(put_limit=600_000) as registry, RegistryClient(registry.host) as client:
        _push(client)
        registry.requests.clear()
        _push(client, _DATA + b"more")
        assert request_log(registry) == [("POST", 202), *[("PATCH", 202)] * 7, ("PUT", 201)]
        registry.requests.clear()
        _push(client, b"small")
        assert request_log(registry) == [("POST", 202), ("PUT", 201)]


def test_chunks_are_as_large_as_the_registry_wants_them(monkeypatch):
    monkeypatch.setattr("topcoat.registry.upload_session._CHUNK", 100_000)
    with (
        FakeRegistry(minimum_chunk=1_000_000, put_limit=1_500_000) as registry,
        RegistryClient(registry.host) as client,
    ):
        _push(client)
        assert registry.blobs[_DESCRIPTOR.digest] == _DATA
        assert _sizes(registry) == [1_000_000] * 3


def test_a_registry_that_refuses_the_smallest_chunks_is_an_error(monkeypatch):
    monkeypatch.setattr("topcoat.registry.upload_session._CHUNK", 1_000_000)
    with FakeRegistry(put_limit=1000) as registry, RegistryClient(registry.host) as client:
        with pytest.raises(RegistryError, match="413"):
            _push(client)
        assert len(registry.requests) < 15


def test_a_registry_without_chunks_is_an_error():
    with (
        FakeRegistry(quirks={"no-chunks"}, put_limit=1_000_000) as registry,
        RegistryClient(registry.host) as client,
        pytest.raises(RegistryError, match="405"),
    ):
        _push(client)


def test_an_empty_blob_can_be_sent_in_chunks(fake, client):
    _push(client, b"", chunked=True)
    assert request_log(fake) == [("POST", 202), ("PUT", 201)]
