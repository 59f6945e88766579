import gzip
import io
import tarfile

import pytest

from topcoat.errors import ImageNotFound, RegistryError, RegistryUnavailable
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.registry.client import RegistryClient
from topcoat.testing.registry import FakeRegistry

from .conftest import random_bytes, request_log

_DATA = random_bytes(3_000_000)


@pytest.fixture
def blob(fake):
    return fake.add_blob("base", _DATA)


def test_a_blob_is_read_in_pieces_of_any_size(client, blob):
    with client.open_blob("base", blob) as reader:
        parts = [reader.read(1), reader.read(70_000), reader.read(0), *reader]
        assert reader.read() == reader.read(5) == b""
    assert b"".join(parts) == _DATA


def test_a_blob_can_be_unpacked_as_it_arrives(fake, client):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("a")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(b"a" * 100_000))
    blob = fake.add_blob("base", packed.getvalue())
    with client.open_blob("base", blob) as reader, tarfile.open(fileobj=reader, mode="r|gz") as archive:
        assert [member.name for member in archive] == ["a"]
    with client.open_blob("base", blob) as reader, gzip.open(reader) as plain:
        assert len(plain.read()) > 100_000


def test_an_empty_blob_is_read(fake, client):
    blob = fake.add_blob("base", b"")
    with client.open_blob("base", blob) as reader:
        assert reader.read() == b""


def test_reading_resumes_where_the_connection_broke(fake, client, blob):
    fake.cut(after=1_000_000)
    fake.cut(after=500_000)
    with client.open_blob("base", blob) as reader:
        assert reader.read() == _DATA
    assert [r.headers.get("range") for r in fake.requests] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_without_ranges_the_whole_blob_is_sent_again():
    with FakeRegistry(quirks={"no-ranges"}) as registry, RegistryClient(registry.host) as client:
        blob = registry.add_blob("base", _DATA)
        registry.cut(after=1_000_000)
        with client.open_blob("base", blob) as reader:
            assert reader.read() == _DATA
        assert request_log(registry) == [("GET", 200), ("GET", 200)]


def test_reading_fails_after_three_resumptions(fake, client, blob):
    fake.cut(times=9, after=1000)
    with (
        client.open_blob("base", blob) as reader,
        pytest.raises(RegistryUnavailable, match="the server closed the connection"),
    ):
        reader.read()
    assert len(fake.requests) == 4


@pytest.mark.parametrize(
    ("descriptor", "why"),
    [
        (Descriptor("", sha256_digest(_DATA), len(_DATA) - 1), "it has more than"),
        (Descriptor("", sha256_digest(_DATA), len(_DATA) + 1), "it ended after 3000000 of 3000001 bytes"),
    ],
)
def test_a_blob_of_the_wrong_size_is_refused(fake, client, blob, descriptor, why):
    with client.open_blob("base", descriptor) as reader, pytest.raises(RegistryError, match=why):
        reader.read()


def test_the_last_bytes_of_a_blob_with_a_wrong_digest_are_not_returned(fake, client, blob):
    fake.blobs[blob.digest] = _DATA[:-1] + b"!" if _DATA[-1:] != b"!" else _DATA[:-1] + b"?"
    blocks = []
    with client.open_blob("base", blob) as reader, pytest.raises(RegistryError, match="its digest is") as caught:
        blocks.extend(reader)
    assert sum(map(len, blocks)) < len(_DATA)
    assert caught.value.temporary


def test_a_missing_blob_is_named(fake, client, blob):
    fake.lose_blob(blob.digest)
    with pytest.raises(ImageNotFound, match=f"base has no blob {blob.digest}"):
        client.open_blob("base", blob)


def test_seeking_backwards_reads_and_verifies_the_blob_again(fake, client, blob):
    with client.open_blob("base", blob) as reader:
        assert reader.seek(0, 2) == len(_DATA)
        assert reader.seek(0) == 0
        assert reader.read(10) == _DATA[:10]
        assert reader.tell() == 10
        assert reader.seek(5) == 5
        assert reader.read(10) == _DATA[5:15]
        assert reader.seek(1_000_000, 1) == 1_000_015
        assert reader.read() == _DATA[1_000_015:]
    assert request_log(fake) == [("GET", 200)] * 2


def test_the_next_request_works_after_an_incomplete_read(fake, client, blob):
    with client.open_blob("base", blob) as reader:
        reader.read(10)
    assert client.has_blob("base", blob)


def test_a_redirect_to_storage_is_followed_without_credentials(home):
    from .conftest import docker_login

    with FakeRegistry(auth="basic", quirks={"redirect-blobs"}) as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        blob = registry.add_blob("base", _DATA)
        assert client.get_blob("base", blob) == _DATA
        last = registry.requests[-1]
        assert last.host == registry.storage_host
        assert "authorization" not in last.headers
