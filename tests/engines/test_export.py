"""Archives as engines export them, read layer by layer."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import sys
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topcoat.engines.export import Export
from topcoat.errors import DaemonError, MissingDependency, StateError
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import DOCKER_LAYER_GZIP

FORMS = ("docker 20", "docker classic", "docker containerd", "podman")


def tar_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if content.startswith(b"-> "):
                info.type, info.linkname, info.size = tarfile.SYMTYPE, content[3:].decode(), 0
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _diff_ids(layers: list[bytes]) -> list[str]:
    return [f"sha256:{_hex(layer)}" for layer in layers]


def saved(form: str, layers: list[bytes]) -> bytes:
    """Return *layers* as an engine exports them in this form."""
    config = json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": _diff_ids(layers)}}).encode()
    files: dict[str, bytes] = {}
    if form == "docker 20":
        names = []
        for number, layer in enumerate(layers):
            name = f"{_hex(b'%d' % number)}/layer.tar"
            first = layers.index(layer)
            files[name.replace("layer.tar", "VERSION")] = b"1.0"
            files[name.replace("layer.tar", "json")] = b'{"id":"x"}'
            files[name] = layer if first == number else f"-> ../{names[first]}".encode()
            names.append(name)
        files[f"{_hex(config)}.json"] = config
    elif form == "podman":
        names = [f"{_hex(layer)}.tar" for layer in layers]
        files.update(zip(names, layers, strict=True))
        files[f"{_hex(config)}.json"] = config
        files.update({f"{_hex(b'%d' % n)}/layer.tar": f"-> ../{name}".encode() for n, name in enumerate(names)})
    else:
        blobs = [gzip.compress(layer, mtime=0) if form == "docker containerd" else layer for layer in layers]
        names = [f"blobs/sha256/{_hex(blob)}" for blob in blobs]
        files.update(sorted(zip(names, blobs, strict=True)))
        files[f"blobs/sha256/{_hex(config)}"] = config
        files["index.json"] = b"{}"
    place = next(name for name, content in files.items() if content == config)
    other = {"Config": "absent.json", "Layers": ["x"]}
    files["manifest.json"] = json.dumps([other, {"Config": place, "RepoTags": None, "Layers": names}]).encode()
    return tar_of(files)


def _read(archive: bytes, layers: list[bytes], skip: frozenset[str] = frozenset(), block: int = 1000):
    export = Export((archive[at : at + block] for at in range(0, len(archive), block)), _diff_ids(layers))
    yielded = [(layer.descriptor, layer.blob.read()) for layer in export.layers(skip)]
    return yielded, export.descriptors()


def _check(descriptor: Descriptor, data: bytes) -> None:
    assert (descriptor.digest, descriptor.size) == (f"sha256:{_hex(data)}", len(data))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    contents=st.lists(st.dictionaries(st.sampled_from("abc{["), st.binary(max_size=2000)), max_size=5),
    block=st.integers(1, 5000),
)
def test_every_layer_is_yielded_once_and_found_by_its_diff_id(
    form: str, contents: list[dict[str, bytes]], block: int
) -> None:
    layers = [tar_of(files) for files in contents]
    yielded, found = _read(saved(form, layers), layers, block=block)
    assert found.keys() == set(_diff_ids(layers))
    assert len(yielded) == len(set(layers))
    stored = {descriptor.digest: data for descriptor, data in yielded}
    for layer in layers:
        descriptor = found[f"sha256:{_hex(layer)}"]
        data = stored[descriptor.digest]
        _check(descriptor, data)
        assert gzip.decompress(data) == layer
        assert descriptor.media_type == DOCKER_LAYER_GZIP


@pytest.mark.parametrize("form", FORMS[1:])
def test_skipped_layers_are_not_yielded(form: str) -> None:
    layers = [tar_of({"a": b"one"}), tar_of({"b": b"two"})]
    everything, found = _read(saved(form, layers), layers)
    first = f"sha256:{_hex(layers[0])}"
    yielded, rest = _read(saved(form, layers), layers, frozenset({first, found[first].digest}))
    assert len(everything) == 2
    assert [descriptor for descriptor, _ in yielded] == [found[f"sha256:{_hex(layers[1])}"]]
    assert rest.keys() == {f"sha256:{_hex(layers[1])}"}


def saved_blobs(layers: list[bytes], blobs: list[bytes]) -> bytes:
    """Return *layers* as a containerd store saves them that has pulled them as *blobs*."""
    names = [f"blobs/sha256/{_hex(blob)}" for blob in blobs]
    config = json.dumps({"rootfs": {"diff_ids": _diff_ids(layers)}}).encode()
    manifest = json.dumps([{"Config": "c.json", "Layers": names}]).encode()
    return tar_of({**dict(zip(names, blobs, strict=True)), "c.json": config, "manifest.json": manifest})


def test_layers_of_every_compression_leave_as_gzip() -> None:
    zstandard = pytest.importorskip("zstandard")
    layers = [tar_of({name: name.encode() * 5000}) for name in ("plain", "gzip", "zstd", "skippable")]
    zstd = [zstandard.ZstdCompressor().compress(layer) for layer in layers[2:]]
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note" + zstd[1]
    gzipped = gzip.compress(layers[1], mtime=0)
    yielded, found = _read(saved_blobs(layers, [layers[0], gzipped, zstd[0], skippable]), layers)
    stored = {descriptor.digest: data for descriptor, data in yielded}
    assert [gzip.decompress(stored[found[diff_id].digest]) for diff_id in _diff_ids(layers)] == layers
    assert {descriptor.media_type for descriptor in found.values()} == {DOCKER_LAYER_GZIP}
    assert gzipped in stored.values()
    for descriptor, data in yielded:
        _check(descriptor, data)


def test_zstd_layers_need_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    layers, blob = [tar_of({"a": b"one"})], b"\x28\xb5\x2f\xfd and so on"
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingDependency) as raised:
        _read(saved_blobs(layers, [blob]), layers)
    assert "topcoat[zstd]" in (raised.value.hint or "")


def test_a_zstd_layer_with_other_content_than_its_diff_id_says_is_left_out() -> None:
    zstandard = pytest.importorskip("zstandard")
    layers, blob = [tar_of({"a": b"one"})], zstandard.ZstdCompressor().compress(tar_of({"a": b"two"}))
    assert _read(saved_blobs(layers, [blob]), layers) == ([], {})


def test_a_damaged_zstd_layer_is_refused() -> None:
    zstandard = pytest.importorskip("zstandard")
    layers = [tar_of({"a": random.Random(1).randbytes(300_000)})]
    blob = zstandard.ZstdCompressor(write_checksum=True).compress(layers[0])
    damaged = blob[:150_000] + bytes([blob[150_000] ^ 1]) + blob[150_001:]
    with pytest.raises(DaemonError, match="damaged"):
        _read(saved_blobs(layers, [damaged]), layers)


def test_layers_of_other_images_are_not_yielded() -> None:
    layers = [tar_of({"a": b"one"})]
    archive = tar_of({"x/layer.tar": tar_of({"b": b"another"}), "y/layer.tar": layers[0]})
    yielded, found = _read(archive, layers)
    assert [gzip.decompress(data) for _, data in yielded] == layers
    assert len(found) == 1


def test_a_blob_that_does_not_match_its_name_is_refused() -> None:
    layers = [tar_of({"a": b"one"})]
    for content in (gzip.compress(layers[0]), layers[0]):
        with pytest.raises(DaemonError, match="does not match its name"):
            _read(tar_of({f"blobs/sha256/{'0' * 64}": content}), layers)


@pytest.mark.parametrize("cut", [100, 600, 20_000])
def test_an_incomplete_archive_is_refused(cut: int) -> None:
    layers = [tar_of({"a": b"x" * 30_000})]
    with pytest.raises(DaemonError, match="damaged or incomplete archive") as raised:
        _read(saved("podman", layers)[:cut], layers)
    assert raised.value.hint


def test_data_that_is_not_an_archive_is_refused() -> None:
    with pytest.raises(DaemonError, match="damaged or incomplete archive"):
        _read(b'{"message": "no such image"}' * 100, [])


def test_a_malformed_list_names_no_layer() -> None:
    blob = gzip.compress(tar_of({"a": b"one"}), mtime=0)
    files = {f"blobs/sha256/{_hex(blob)}": blob}
    for text in (b"[1]", b"{}", b"no json", b'[{"Config": "x", "Layers": []}]', b'[{"Layers": []}]'):
        _, found = _read(tar_of({**files, "manifest.json": text}), [tar_of({"a": b"one"})])
        assert found == {}


def test_at_most_one_layer_is_on_disk_and_none_in_the_end(home: Path) -> None:
    layers = [tar_of({str(number): bytes(100_000)}) for number in range(4)]
    export = Export([saved("podman", layers)], _diff_ids(layers))
    blobs = []
    for layer in export.layers():
        assert all(blob.closed for blob in blobs)
        blobs.append(layer.blob)
    assert len(blobs) == 4
    assert all(blob.closed for blob in blobs)
    assert list((home / ".cache/topcoat/spool").iterdir()) == []


def test_the_archive_is_read_layer_by_layer() -> None:
    layers = [tar_of({str(number): bytes([number]) * 3_000_000}) for number in range(5)]
    archive, given_out = saved("podman", layers), 0

    def blocks() -> Iterator[bytes]:
        nonlocal given_out
        for at in range(0, len(archive), 10_000):
            given_out = at
            yield archive[at : at + 10_000]

    for number, _ in enumerate(Export(blocks(), _diff_ids(layers)).layers(), 1):
        assert given_out < number * 3_020_000 + 100_000


def test_a_layer_is_never_whole_in_memory() -> None:
    layers = [tar_of({"large": random.Random(1).randbytes(30_000_000)})]
    archive = memoryview(saved("podman", layers))
    blocks = (bytes(archive[at : at + 100_000]) for at in range(0, len(archive), 100_000))
    export = Export(blocks, _diff_ids(layers))
    tracemalloc.start()
    try:
        assert sum(layer.descriptor.size for layer in export.layers()) > 29_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_a_full_disk_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **kwargs: Full())
    layers = [tar_of({"a": b"one"})]
    with pytest.raises(StateError, match="No space left") as raised:
        _read(saved("podman", layers), layers)
    assert "XDG_CACHE_HOME" in (raised.value.hint or "")
