"""Bases looked up in registries, and cached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from topcoat.bases.base import Base, FoundBase, images_of, look_up
from topcoat.bases.registry_bases import RegistryBases
from topcoat.errors import ImageNotFound, InvalidImage, InvalidReference, NoSuchPlatform, RegistryUnavailable
from topcoat.registry.clients import Clients
from topcoat.tasks import TaskScope
from topcoat.testing.registry import FakeRegistry


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def _requests(fake: FakeRegistry) -> list[str]:
    """Return the requests since the last call."""
    requests = [f"{request.method} {request.path.split('/')[-2]}" for request in fake.requests]
    fake.requests.clear()
    return requests


def _name(fake: FakeRegistry, identifier: str = ":1") -> str:
    return f"{fake.host}/base{identifier}"


def _find(name: str, platform: str = "") -> Base:
    """Look up a base as a new process does."""
    base = look_up(RegistryBases(Clients()), name, platform)
    assert isinstance(base, Base)
    return base


def _found(name: str) -> FoundBase:
    """Return what is found before it is confirmed; the request that confirms it has ended."""
    with TaskScope() as tasks:
        return RegistryBases(Clients()).find(name, "", tasks)


def test_the_first_lookup_reads_and_the_next_one_sends_a_head_request(fake: FakeRegistry) -> None:
    fake.add_image("base", "1", config={"config": {"WorkingDir": "/w"}})
    first = _find(_name(fake))
    assert _requests(fake) == ["GET manifests", "GET blobs"]
    assert (first.config.working_dir, first.registry, first.repository) == ("/w", fake.host, "base")

    base = _found(_name(fake))
    assert base.confirm() is base.base
    assert base.base == first
    assert _requests(fake) == ["HEAD manifests"]


def test_a_base_named_by_digest_is_read_once(fake: FakeRegistry) -> None:
    digest = fake.add_image("base", "1").digest
    first = _find(_name(fake, f"@{digest}"))
    _requests(fake)
    assert _find(_name(fake, f"@{digest}")) == first
    assert _requests(fake) == []


def test_a_moved_tag_is_noticed_and_cached(fake: FakeRegistry) -> None:
    fake.add_image("base", "1", layers=(b"old",))
    old = _find(_name(fake))
    moved = fake.add_image("base", "1", layers=(b"new",))
    base = _found(_name(fake))
    assert base.base == old
    confirmed = base.confirm()
    assert isinstance(confirmed, Base)
    assert confirmed.digest == moved.digest
    _requests(fake)
    assert _find(_name(fake)).digest == moved.digest
    assert _requests(fake) == ["HEAD manifests"]


def test_a_deleted_tag_is_an_error(fake: FakeRegistry) -> None:
    fake.add_image("base", "1")
    _find(_name(fake))
    fake.repositories["base"].tags.clear()
    base = _found(_name(fake))
    with pytest.raises(ImageNotFound, match="no longer in its registry") as raised:
        base.confirm()
    assert raised.value.hint


def test_platforms_are_cached_apart(fake: FakeRegistry) -> None:
    entries = [fake.add_image("base", platform=platform) for platform in ("linux/amd64", "linux/arm64")]
    index = fake.add_index("base", "1", entries)
    for _ in range(2):
        bases = [_find(_name(fake), platform) for platform in ("", "linux/arm64", "linux/amd64")]
        assert {base.digest for base in bases} == {index.digest}
        assert [str(base.config.platform) for base in bases] == ["linux/amd64", "linux/arm64", "linux/amd64"]
    with pytest.raises(NoSuchPlatform, match="linux/s390x"):
        _find(_name(fake), "linux/s390x")


def test_two_lookups_of_one_name_for_two_platforms_are_confirmed_apart(fake: FakeRegistry) -> None:
    entries = [fake.add_image("base", platform=platform) for platform in ("linux/amd64", "linux/arm64")]
    fake.add_index("base", "1", entries)
    platforms = ("linux/amd64", "linux/arm64")
    for platform in platforms:
        _find(_name(fake), platform)
    entries = [fake.add_image("base", platform=platform, layers=(b"new",)) for platform in platforms]
    moved = fake.add_index("base", "1", entries)
    source = RegistryBases(Clients())
    with TaskScope() as tasks:
        bases = [source.find(_name(fake), platform, tasks) for platform in platforms]
    for one, platform in zip(bases, platforms, strict=True):
        (base,) = images_of(one.confirm())
        assert (base.digest, str(base.config.platform)) == (moved.digest, platform)


def test_a_damaged_cache_is_ignored(fake: FakeRegistry, home: Path) -> None:
    fake.add_image("base", "1")
    first = _find(_name(fake))
    (record,) = (home / ".cache/topcoat/bases").iterdir()
    data = record.read_bytes()
    for damage in (b"", b"{}", b"[]", data[:-20], data.replace(b"diff_ids", b"diff_idz")):
        record.write_bytes(damage)
        _requests(fake)
        assert _find(_name(fake)) == first
        assert _requests(fake) == ["GET manifests", "GET blobs"]


def test_names_that_refer_to_no_image(fake: FakeRegistry) -> None:
    with pytest.raises(ImageNotFound, match="there is no image"):
        _find(_name(fake))
    with pytest.raises(InvalidReference):
        _find("No Such Name")
    with pytest.raises(ImageNotFound, match="container engine"):
        _find(f"sha256:{'a' * 64}")
    fake.store_manifest("base", "odd", b"[]", "application/vnd.oci.image.manifest.v1+json")
    with pytest.raises(InvalidImage):
        _find(_name(fake, ":odd"))
    with pytest.raises(RegistryUnavailable):
        _find("127.0.0.1:1/base:1")
