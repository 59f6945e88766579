"""Layers of a base that only an engine has, brought to a repository; archives stand in for the engine."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterable, Iterator
from typing import cast

import pytest

from tests.engines.test_export import saved, saved_blobs, tar_of
from topcoat.bases.base import Base
from topcoat.bases.engine_base import OpenEngine
from topcoat.destinations.base_layers import BaseLayers
from topcoat.engines.export import Export
from topcoat.errors import DaemonError, RegistryError
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import DOCKER_LAYER_GZIP, DOCKER_MANIFEST, Manifest
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.testing.registry import FakeRegistry

_LAYERS = [tar_of({name: name.encode() * 5000}) for name in ("one", "two", "three")]


class _Engine:
    """Has an image, and counts how often it is exported."""

    def __init__(self, archive: bytes, size: int = 1000) -> None:
        self.archive = archive
        self.size = size
        self.exports = 0

    @contextlib.contextmanager
    def exporting(self, client: object, base: Base) -> Iterator[Export]:
        self.exports += 1
        yield Export([self.archive], base.config.diff_ids)

    def image_size(self, client: object, base: Base) -> int:
        return self.size


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def _engine(monkeypatch: pytest.MonkeyPatch, archive: bytes, size: int = 1000) -> _Engine:
    engine = _Engine(archive, size)
    monkeypatch.setattr("topcoat.bases.engine_base.exporting", engine.exporting)
    monkeypatch.setattr("topcoat.bases.engine_base.image_size", engine.image_size)
    return engine


def _base(layers: list[bytes]) -> Base:
    config = ImageConfig({"rootfs": {"diff_ids": [sha256_digest(layer) for layer in layers]}})
    return Base(
        "mine:1", "", Manifest(DOCKER_MANIFEST, Descriptor("x", sha256_digest(b""), 0), ()), config, engine_id="x"
    )


def _export(
    fake: FakeRegistry, layers: list[bytes], remote_digests: Iterable[str] = (), *, has_failed: bool = False
) -> tuple[Base, list[int]]:
    """Export a base of *layers* to ``app``; return it as the registry has it, and the sizes of the layers sent."""
    sent: list[int] = []
    target, engine = Reference.parse(f"{fake.host}/app"), cast(OpenEngine, contextlib.nullcontext)
    base_layers = BaseLayers(target, Clients(), engine, frozenset(remote_digests), sent.append, lambda: has_failed)
    return base_layers.export(_base(layers)), sent


@pytest.mark.parametrize("form", ["docker 20", "docker classic", "docker containerd", "podman"])
def test_layers_are_sent_once_and_cached(
    form: str, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    layers = [*_LAYERS, _LAYERS[0]]
    engine = _engine(monkeypatch, saved(form, layers))
    base, sent = _export(fake, layers)
    assert (len(sent), notices, engine.exports) == (3, [], 1)
    assert base.manifest.media_type == DOCKER_MANIFEST
    for layer, descriptor in zip(layers, base.manifest.layers, strict=True):
        assert descriptor.media_type == DOCKER_LAYER_GZIP
        assert gzip.decompress(fake.blobs[descriptor.digest]) == layer

    fake.requests.clear()
    again, sent = _export(fake, layers)
    assert (again, sent, engine.exports) == (base, [], 1)
    assert {request.method for request in fake.requests} == {"HEAD"}

    fake.requests.clear()
    assert _export(fake, layers, [layer.digest for layer in base.manifest.layers])[0] == base
    assert fake.requests == []


def test_one_layer_that_is_lost_is_the_only_one_sent(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(monkeypatch, saved("podman", _LAYERS))
    base, _ = _export(fake, _LAYERS)
    lost = base.manifest.layers[1]
    fake.lose_blob(lost.digest)
    again, sent = _export(fake, _LAYERS)
    assert (again, sent) == (base, [lost.size])


def test_an_export_without_a_layer_is_an_error(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(monkeypatch, saved("podman", _LAYERS[:2]))
    with pytest.raises(DaemonError, match=f"without its layer {sha256_digest(_LAYERS[2])}") as raised:
        _export(fake, _LAYERS)
    assert raised.value.hint


def test_a_refused_upload_ends_it(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(monkeypatch, saved("podman", _LAYERS))
    fake.fail(403, method="PUT")
    with pytest.raises(RegistryError, match="403"):
        _export(fake, _LAYERS)
    assert fake.blobs == {}
    assert len(_export(fake, _LAYERS)[1]) == 3
    assert engine.exports == 2


def test_a_push_that_has_failed_elsewhere_sends_nothing_more(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _engine(monkeypatch, saved("podman", _LAYERS))
    base, sent = _export(fake, _LAYERS, has_failed=True)
    assert (base.manifest.layers, sent, fake.blobs) == ((), [], {})


def test_zstd_layers_of_an_engine_are_stored_as_gzip(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag promises it: an image that is asked for with gzip runs on engines that cannot read zstd."""
    zstandard = pytest.importorskip("zstandard")
    blobs = [zstandard.ZstdCompressor().compress(_LAYERS[0]), gzip.compress(_LAYERS[1], mtime=0)]
    _engine(monkeypatch, saved_blobs(_LAYERS[:2], blobs))
    base, sent = _export(fake, _LAYERS[:2])
    assert base.manifest.media_type == DOCKER_MANIFEST
    assert [layer.media_type for layer in base.manifest.layers] == [DOCKER_LAYER_GZIP] * 2
    assert [gzip.decompress(fake.blobs[layer.digest]) for layer in base.manifest.layers] == _LAYERS[:2]
    assert sorted(sent) == sorted(layer.size for layer in base.manifest.layers)
    assert base.manifest.layers[1].digest == sha256_digest(blobs[1])


def test_a_gigabyte_is_announced_before_it_is_sent(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    _engine(monkeypatch, saved("podman", _LAYERS), size=3_000_000_000)
    _export(fake, _LAYERS)
    assert notices == ["copying up to 3.0 GB of the base from this machine's container engine"]
    # All layers are there now.
    notices.clear()
    _export(fake, _LAYERS)
    assert notices == []
