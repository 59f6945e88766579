"""The cache of base images."""

from __future__ import annotations

from pathlib import Path

import pytest

from topcoat.bases.base import ALL_PLATFORMS, BaseIndex, images_of, look_up
from topcoat.bases.base_cache import get_base, put_base
from topcoat.bases.registry_bases import RegistryBases
from topcoat.registry.clients import Clients
from topcoat.testing.registry import FakeRegistry

_PLATFORMS = ("linux/amd64", "linux/arm64")


@pytest.fixture
def index() -> BaseIndex:
    with FakeRegistry() as fake:
        entries = [fake.add_image("base", platform=platform, oci=True) for platform in _PLATFORMS]
        fake.add_index("base", "1", entries)
        base = look_up(RegistryBases(Clients()), f"{fake.host}/base:1", ALL_PLATFORMS)
    assert isinstance(base, BaseIndex)
    return base


def test_an_index_and_an_image_are_returned_as_they_were_stored(index: BaseIndex) -> None:
    name = index.bases[0].name
    put_base(index, ALL_PLATFORMS)
    put_base(index.bases[1], "linux/arm64")
    cached = get_base(name, ALL_PLATFORMS)
    assert isinstance(cached, BaseIndex)
    assert cached.bases == index.bases
    assert cached.image_index.manifests == index.image_index.manifests
    assert get_base(name, "linux/arm64") == index.bases[1]


def test_nothing_is_returned_for_another_name_or_platform(index: BaseIndex) -> None:
    put_base(index, ALL_PLATFORMS)
    assert get_base(index.bases[0].name, "linux/arm64") is None
    assert get_base(f"{index.bases[0].name}1", ALL_PLATFORMS) is None


def test_an_index_with_another_number_of_images_is_ignored(index: BaseIndex, home: Path) -> None:
    put_base(BaseIndex(index.image_index, index.bases[:1]), ALL_PLATFORMS)
    assert len(images_of(index)) == 2
    assert get_base(index.bases[0].name, ALL_PLATFORMS) is None


def test_a_record_that_cannot_be_written_is_a_notice(
    index: BaseIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file/x"))
    put_base(index, ALL_PLATFORMS)
    assert "working without a cache" in caplog.text
    assert get_base(index.bases[0].name, ALL_PLATFORMS) is None
