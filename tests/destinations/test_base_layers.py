"""Layers of a base that only an engine has, brought to a repository; the engine is played by archives."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engines.test_export import saved, tar_of
from topcoat.bases.base import Base
from topcoat.destinations.base_layers import BaseLayers
from topcoat.engines.export import Export
from topcoat.errors import DaemonError, RegistryError
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_LAYER_ZSTD, OCI_MANIFEST, Manifest
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


def _bring(fake: FakeRegistry, layers: list[bytes], **options: Any) -> tuple[Base, list[int], list[str]]:
    sent: list[int] = []
    told: list[str] = []
    there = frozenset(options.get("there", ()))
    stopped = options.get("stopped", lambda: False)
    clients, target = Clients(), Reference.parse(f"{fake.host}/app")
    engine: Any = contextlib.nullcontext
    bringer = BaseLayers(target, clients, engine, there, told.append, sent.append, stopped)
    return bringer.export(_base(layers)), sent, told


@pytest.mark.parametrize("form", ["docker 20", "docker classic", "docker containerd", "podman"])
def test_layers_are_sent_once_and_remembered(form: str, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [*_LAYERS, _LAYERS[0]]
    engine = _engine(monkeypatch, saved(form, layers))
    base, sent, told = _bring(fake, layers)
    assert (len(sent), told, engine.exports) == (3, [], 1)
    assert base.manifest.media_type == DOCKER_MANIFEST
    for layer, descriptor in zip(layers, base.manifest.layers, strict=True):
        assert descriptor.media_type == DOCKER_LAYER_GZIP
        assert gzip.decompress(fake.blobs[descriptor.digest]) == layer

    fake.requests.clear()
    again, sent, _ = _bring(fake, layers)
    assert (again, sent, engine.exports) == (base, [], 1)
    assert {request.method for request in fake.requests} == {"HEAD"}

    fake.requests.clear()
    assert _bring(fake, layers, there=[layer.digest for layer in base.manifest.layers])[0] == base
    assert fake.requests == []


def test_one_layer_that_is_lost_is_the_only_one_sent(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(monkeypatch, saved("podman", _LAYERS))
    base, _, _ = _bring(fake, _LAYERS)
    lost = base.manifest.layers[1]
    fake.lose_blob(lost.digest)
    again, sent, _ = _bring(fake, _LAYERS)
    assert (again, sent) == (base, [lost.size])


def test_an_export_without_a_layer_is_an_error(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(monkeypatch, saved("podman", _LAYERS[:2]))
    with pytest.raises(DaemonError, match=f"without its layer {sha256_digest(_LAYERS[2])}") as raised:
        _bring(fake, _LAYERS)
    assert raised.value.hint


def test_a_refused_upload_ends_it(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(monkeypatch, saved("podman", _LAYERS))
    fake.fail(403, method="PUT")
    with pytest.raises(RegistryError, match="403"):
        _bring(fake, _LAYERS)
    assert fake.blobs == {}
    # What arrived is not sent again.
    assert len(_bring(fake, _LAYERS)[1]) == 3
    assert engine.exports == 2


def test_a_push_that_has_failed_elsewhere_sends_nothing_more(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _engine(monkeypatch, saved("podman", _LAYERS))
    base, sent, _ = _bring(fake, _LAYERS, stopped=lambda: True)
    assert (base.manifest.layers, sent, fake.blobs) == ((), [], {})


def test_zstd_makes_the_manifest_ocis(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = b"\x28\xb5\x2f\xfd and so on"
    name = f"blobs/sha256/{sha256_digest(blob)[7:]}"
    config = json.dumps(dict(_base(_LAYERS[:1]).config.document)).encode()
    manifest = json.dumps([{"Config": "c.json", "Layers": [name]}]).encode()
    _engine(monkeypatch, tar_of({name: blob, "c.json": config, "manifest.json": manifest}))
    base, _, _ = _bring(fake, _LAYERS[:1])
    assert base.manifest.media_type == OCI_MANIFEST
    assert [layer.media_type for layer in base.manifest.layers] == [OCI_LAYER_ZSTD]


def test_a_gigabyte_is_announced_before_it_is_sent(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(monkeypatch, saved("podman", _LAYERS), size=3_000_000_000)
    assert _bring(fake, _LAYERS)[2] == ["copying up to 3.0 GB of the base from this machine's container engine"]
    # Nothing is left to be sent.
    assert _bring(fake, _LAYERS)[2] == []
