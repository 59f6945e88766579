"""Bases looked up in registries, and remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from topcoat.bases.lookup import BaseLookup

from topcoat.errors import ImageNotFound, InvalidImage, InvalidReference, NoSuchPlatform, RegistryUnavailable
from topcoat.registry.clients import Clients
from topcoat.testing.registry import FakeRegistry


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def _asked(fake: FakeRegistry) -> list[str]:
    asked = [f"{request.method} {request.path.split('/')[-2]}" for request in fake.requests]
    fake.requests.clear()
    return asked


def _name(fake: FakeRegistry, identifier: str = ":1") -> str:
    return f"{fake.host}/base{identifier}"


def test_the_first_look_reads_and_the_next_one_asks(fake: FakeRegistry) -> None:
    fake.add_image("base", "1", config={"config": {"WorkingDir": "/w"}})
    first = BaseLookup(Clients()).find(_name(fake), "")
    assert _asked(fake) == ["GET manifests", "GET blobs"]
    assert (first.config.working_dir, first.registry, first.repository) == ("/w", fake.host, "base")

    lookup = BaseLookup(Clients())
    second = lookup.find(_name(fake), "")
    assert lookup.confirm(second) is second
    assert second == first
    assert _asked(fake) == ["HEAD manifests"]


def test_a_base_named_by_digest_is_asked_for_once(fake: FakeRegistry) -> None:
    digest = fake.add_image("base", "1").digest
    lookup = BaseLookup(Clients())
    first = lookup.find(_name(fake, f"@{digest}"), "")
    _asked(fake)
    assert lookup.confirm(lookup.find(_name(fake, f"@{digest}"), "")) == first
    assert _asked(fake) == []


def test_a_moved_tag_is_noticed_and_remembered(fake: FakeRegistry) -> None:
    fake.add_image("base", "1", layers=(b"old",))
    lookup = BaseLookup(Clients())
    old = lookup.find(_name(fake), "")
    moved = fake.add_image("base", "1", layers=(b"new",))
    found = lookup.find(_name(fake), "")
    assert found == old
    assert lookup.confirm(found).digest == moved.digest
    _asked(fake)
    assert lookup.confirm(lookup.find(_name(fake), "")).digest == moved.digest
    assert _asked(fake) == ["HEAD manifests"]


def test_a_tag_that_is_gone_is_noticed(fake: FakeRegistry) -> None:
    fake.add_image("base", "1")
    lookup = BaseLookup(Clients())
    lookup.find(_name(fake), "")
    fake.repositories["base"].tags.clear()
    with pytest.raises(ImageNotFound, match="no longer in its registry") as raised:
        lookup.confirm(lookup.find(_name(fake), ""))
    assert raised.value.hint


def test_platforms_are_remembered_apart(fake: FakeRegistry) -> None:
    entries = [fake.add_image("base", platform=platform) for platform in ("linux/amd64", "linux/arm64")]
    index = fake.add_index("base", "1", entries)
    for _ in range(2):
        lookup = BaseLookup(Clients())
        found = {}
        for platform in ("", "linux/arm64", "linux/amd64"):
            found[platform] = lookup.confirm(lookup.find(_name(fake), platform))
        assert {one.digest for one in found.values()} == {index.digest}
        assert [str(one.config.platform) for one in found.values()] == ["linux/amd64", "linux/arm64", "linux/amd64"]
    with pytest.raises(NoSuchPlatform, match="linux/s390x"):
        BaseLookup(Clients()).find(_name(fake), "linux/s390x")


def test_damaged_memory_is_forgotten(fake: FakeRegistry, home: Path) -> None:
    fake.add_image("base", "1")
    first = BaseLookup(Clients()).find(_name(fake), "")
    (note,) = (home / ".cache/topcoat/bases").iterdir()
    for damage in (b"", b"{}", b"[]", note.read_bytes()[:-20], note.read_bytes().replace(b"diff_ids", b"diff_idz")):
        note.write_bytes(damage)
        _asked(fake)
        assert BaseLookup(Clients()).find(_name(fake), "") == first
        assert _asked(fake) == ["GET manifests", "GET blobs"]


def test_what_is_no_base(fake: FakeRegistry) -> None:
    lookup = BaseLookup(Clients())
    with pytest.raises(ImageNotFound, match="there is no image"):
        lookup.find(_name(fake), "")
    with pytest.raises(InvalidReference):
        lookup.find("No Such Name", "")
    with pytest.raises(ImageNotFound, match="container engine"):
        lookup.find(f"sha256:{'a' * 64}", "")
    fake.store_manifest("base", "odd", b"[]", "application/vnd.oci.image.manifest.v1+json")
    with pytest.raises(InvalidImage):
        lookup.find(_name(fake, ":odd"), "")
    with pytest.raises(RegistryUnavailable):
        lookup.find("127.0.0.1:1/base:1", "")
