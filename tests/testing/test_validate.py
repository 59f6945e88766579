"""A valid image is clean, and each single thing that is wrong with one is reported."""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topcoat.errors import InvalidImage
from topcoat.oci.compression import find_compressor
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
)
from topcoat.oci.mismatch import Mismatch, listed
from topcoat.testing.validate import find_mismatches, validate

_TYPES = {
    ("oci", "none"): OCI_LAYER,
    ("oci", "gzip"): OCI_LAYER_GZIP,
    ("oci", "zstd"): OCI_LAYER_ZSTD,
    ("docker", "none"): DOCKER_LAYER,
    ("docker", "gzip"): DOCKER_LAYER_GZIP,
}
_STRANGER = "sha256:" + "0" * 64

Entry = tuple[str, bytes, str]
"""Name, tar type, link target."""

_DIR, _FILE, _LINK, _HARD = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
_TREE: list[Entry] = [
    ("a", _DIR, ""),
    ("a/b", _DIR, ""),
    ("a/b/c.txt", _FILE, ""),
    ("a/link", _LINK, "../../else/where"),
    ("a/again", _HARD, "a/b/c.txt"),
    ("a/.wh.gone", _FILE, ""),
    ("a/b/.wh..wh..opq", _FILE, ""),
    ("top", _FILE, ""),
    ("a" * 120, _FILE, ""),
    ("sp ace\n\udcff", _FILE, ""),
]


class Shape(NamedTuple):
    """A valid image: its flavour, how each layer is stored, with or without a history, our labels and an index."""

    flavour: str
    stored: tuple[str, ...]
    history: bool
    labels: bool
    indexed: bool
    dotted: bool = False


class Image(NamedTuple):
    """What a registry would hold."""

    data: bytes
    media_type: str
    blobs: dict[str, bytes]

    def open(self, descriptor: Descriptor) -> BinaryIO | None:
        data = self.blobs.get(descriptor.digest)
        return None if data is None else io.BytesIO(data)

    def mismatches(self) -> list[Mismatch]:
        return find_mismatches(self.data, self.open, media_type=self.media_type)


Damage = Callable[[Any], None]


class Corruption(NamedTuple):
    """One thing that is wrong: where in the making, how, and what the report has to say of the place and the rule."""

    stage: str
    damage: Damage
    where: str
    what: str = ""
    # Given a shape, tells whether it can be damaged like this.
    fits: Callable[[Shape], bool] = lambda shape: True


def _tar(entries: list[Entry], *, number: int, dotted: bool) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", encoding="utf-8", errors="surrogateescape") as archive:
        for name, kind, target in [*entries, (f"layer{number}", _FILE, "")]:
            member = tarfile.TarInfo(f"./{name}" if dotted else name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return packed.getvalue()


def _store(data: bytes, compression: str) -> bytes:
    if compression == "zstd":
        compressor = find_compressor("zstd").start()
        return bytes(compressor.compress(data) + compressor.flush())
    return gzip.compress(data, mtime=0) if compression == "gzip" else data


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _describe(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def make(shape: Shape, corruption: Corruption | None = None) -> Image:
    """Make the image, damaged on the way."""

    def damaged(stage: str, value: Any) -> Any:
        if corruption is not None and corruption.stage == stage:
            corruption.damage(value)
        return value

    oci = shape.flavour == "oci"
    last = len(shape.stored) - 1
    trees = [copy.copy(_TREE) for _ in shape.stored]
    damaged("tree", trees[last])
    tars = [_tar(tree, number=number, dotted=shape.dotted) for number, tree in enumerate(trees)]
    stored = [_store(tar, how) for tar, how in zip(tars, shape.stored, strict=True)]
    diff_ids = [_digest(tar) for tar in tars]
    config: dict[str, Any] = {
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "config": {
            "Env": ["A=b=c", "EMPTY="],
            "Cmd": ["x"],
            "User": "1",
            "WorkingDir": "/w",
            "Volumes": {"/v": {}},
            "Labels": {"team": "vision"},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    if shape.history:
        steps = [{"created_by": "topcoat", "comment": f"code layer {diff_id}"} for diff_id in diff_ids]
        config["history"] = [{"created_by": "FROM", "empty_layer": True}, *steps]
    if shape.labels:
        config["config"]["Labels"] |= {
            "dev.topcoat.snapshot": _STRANGER,
            "dev.topcoat.base": _STRANGER,
            "dev.topcoat.target": "/w",
            "dev.topcoat.layers": ",".join(diff_ids[-2:]),
        }
    config_data = json.dumps(damaged("config", config)).encode()
    descriptor = _describe(OCI_CONFIG if oci else DOCKER_CONFIG, config_data)
    if oci:
        descriptor["data"] = base64.b64encode(config_data).decode()
    layers = [_describe(_TYPES[shape.flavour, how], data) for how, data in zip(shape.stored, stored, strict=True)]
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST if oci else DOCKER_MANIFEST,
        "config": descriptor,
        "layers": layers,
    }
    if oci:
        manifest["annotations"] = {"a": "b"}
        layers[0]["annotations"] = {"c": "d"}
    data = json.dumps(damaged("manifest", manifest)).encode()
    media_type = OCI_MANIFEST if oci else DOCKER_MANIFEST
    blobs = {_digest(config_data): config_data, **{_digest(stored_layer): stored_layer for stored_layer in stored}}
    damaged("config bytes", _Blob(blobs, _digest(config_data)))
    damaged("layer bytes", _Blob(blobs, _digest(stored[last])))
    if not shape.indexed:
        return Image(data, media_type, blobs)
    blobs[_digest(data)] = data
    attestation = b"not looked at"
    platforms = [{"os": "linux", "architecture": "arm64"}, {"os": "unknown", "architecture": "unknown"}]
    entries = [
        {**_describe(media_type, one), "platform": platform}
        for one, platform in zip((data, attestation), platforms, strict=True)
    ]
    blobs[_digest(attestation)] = attestation
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX if oci else DOCKER_INDEX, "manifests": entries}
    whole = json.dumps(damaged("index", index)).encode()
    damaged("manifest bytes", _Blob(blobs, _digest(data)))
    return Image(whole, OCI_INDEX if oci else DOCKER_INDEX, blobs)


class _Blob(NamedTuple):
    blobs: dict[str, bytes]
    digest: str

    def replace(self, change: Callable[[bytes], bytes]) -> None:
        self.blobs[self.digest] = change(self.blobs[self.digest])


shapes = st.builds(
    Shape,
    flavour=st.just("oci"),
    stored=st.lists(st.sampled_from(["none", "gzip", "zstd"]), min_size=1, max_size=4).map(tuple),
    history=st.booleans(),
    labels=st.booleans(),
    indexed=st.booleans(),
    dotted=st.booleans(),
) | st.builds(
    Shape,
    flavour=st.just("docker"),
    stored=st.lists(st.sampled_from(["none", "gzip"]), min_size=1, max_size=4).map(tuple),
    history=st.booleans(),
    labels=st.booleans(),
    indexed=st.booleans(),
    dotted=st.booleans(),
)


def _set(*path: Any) -> Damage:
    """Return what puts the last of *path* where the others lead."""

    def damage(value: Any) -> None:
        for key in path[:-2]:
            value = value[key]
        value[path[-2]] = path[-1]

    return damage


def _drop(*path: Any) -> Damage:
    def damage(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return damage


def _add(*entries: Entry) -> Damage:
    return lambda tree: tree.extend(entries)


def _first(*entries: Entry) -> Damage:
    def damage(tree: list[Entry]) -> None:
        tree[:0] = entries

    return damage


def _swap(value: Any) -> None:
    diff_ids = value["rootfs"]["diff_ids"]
    diff_ids[0], diff_ids[-1] = diff_ids[-1], diff_ids[0]


def _oci(shape: Shape) -> bool:
    return shape.flavour == "oci"


def _docker(shape: Shape) -> bool:
    return shape.flavour == "docker"


def _history(shape: Shape) -> bool:
    return shape.history


def _labels(shape: Shape) -> bool:
    return shape.labels


def _index(shape: Shape) -> bool:
    return shape.indexed


def _several(shape: Shape) -> bool:
    return len(shape.stored) > 1


def _compressed(shape: Shape) -> bool:
    return shape.stored[-1] != "none"


def _shrink(blob: Any) -> None:
    blob.replace(lambda data: data[: len(data) // 2])


def _flip(blob: Any) -> None:
    blob.replace(lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


def _recompress(blob: Any) -> None:
    blob.replace(lambda data: gzip.compress(b"other" + data, 1))


def _plain_type(manifest: Any) -> None:
    layer = manifest["layers"][-1]
    layer["mediaType"] = layer["mediaType"].replace("+gzip", "").replace("+zstd", "").replace(".gzip", "")


CORRUPTIONS: dict[str, Corruption] = {
    "no schema version": Corruption("manifest", _drop("schemaVersion"), "manifest.schemaVersion"),
    "another schema version": Corruption("manifest", _set("schemaVersion", 3), "manifest.schemaVersion"),
    "an invalid media type": Corruption("manifest", _set("mediaType", "text/html"), "manifest.mediaType"),
    "no media type in Docker's flavour": Corruption("manifest", _drop("mediaType"), "manifest.mediaType", fits=_docker),
    "the other flavour's media type": Corruption(
        "manifest", _set("mediaType", OCI_MANIFEST), "manifest.mediaType", fits=_docker
    ),
    "an image and an index": Corruption("manifest", _set("manifests", []), "index", "kind"),
    "no config": Corruption("manifest", _drop("config"), "manifest.config"),
    "no layers": Corruption("manifest", _drop("layers"), "manifest.layers"),
    "a layer that is no descriptor": Corruption("manifest", _set("layers", 0, "x"), "manifest.layers[0]"),
    "a malformed digest": Corruption("manifest", _set("layers", 0, "digest", "sha256:AB"), "manifest.layers[0].digest"),
    "an unregistered digest": Corruption(
        "manifest", _set("layers", 0, "digest", "md5:" + "0" * 32), "manifest.layers[0].digest"
    ),
    "an invalid size": Corruption("manifest", _set("layers", 0, "size", -1), "manifest.layers[0].size"),
    "another size": Corruption("manifest", _set("layers", -1, "size", 7), ".size", "bytes of the content"),
    "another size of the config": Corruption("manifest", _set("config", "size", 7), "manifest.config.size"),
    "no type of a layer": Corruption("manifest", _drop("layers", 0, "mediaType"), "manifest.layers[0].mediaType"),
    "a layer of no known type": Corruption(
        "manifest", _set("layers", 0, "mediaType", "application/x"), "manifest.layers[0].mediaType"
    ),
    "an OCI layer in Docker's flavour": Corruption(
        "manifest", _set("layers", 0, "mediaType", OCI_LAYER_GZIP), "manifest.layers[0].mediaType", fits=_docker
    ),
    "an OCI config in Docker's flavour": Corruption(
        "manifest", _set("config", "mediaType", OCI_CONFIG), "manifest.config.mediaType", fits=_docker
    ),
    "a Docker config in OCI's flavour": Corruption(
        "manifest", _set("config", "mediaType", DOCKER_CONFIG), "manifest.config.mediaType", fits=_oci
    ),
    "annotations in Docker's flavour": Corruption(
        "manifest", _set("annotations", {"a": "b"}), "manifest.annotations", fits=_docker
    ),
    "annotations of a layer in Docker's flavour": Corruption(
        "manifest", _set("layers", 0, "annotations", {"a": "b"}), "manifest.layers[0].annotations", fits=_docker
    ),
    "an annotation that is no text": Corruption(
        "manifest", _set("annotations", {"a": 1}), "manifest.annotations", fits=_oci
    ),
    "invalid urls": Corruption("manifest", _set("layers", 0, "urls", "u"), "manifest.layers[0].urls"),
    "a subject in Docker's flavour": Corruption("manifest", _set("subject", {}), "manifest.subject", fits=_docker),
    "a subject that is no descriptor": Corruption("manifest", _set("subject", {}), "manifest.subject", fits=_oci),
    "data that is not base64": Corruption("manifest", _set("config", "data", "?"), "manifest.config.data", fits=_oci),
    "data that is something else": Corruption(
        "manifest", _set("config", "data", "e30="), "manifest.config.data.digest", fits=_oci
    ),
    "a layer too few": Corruption("manifest", _drop("layers", 0), "diff_ids", "number of diff ids"),
    "a type that hides the compression": Corruption(
        "manifest", _plain_type, ".mediaType", "compression", fits=_compressed
    ),
    "a config that is not JSON": Corruption("config bytes", _shrink, "config", "JSON"),
    "other bytes of a config": Corruption(
        "config bytes", lambda blob: blob.replace(lambda data: data + b" "), "manifest.config.digest"
    ),
    "a shorter layer": Corruption("layer bytes", _shrink, ".size"),
    "other bytes of a layer": Corruption("layer bytes", _flip, ".digest"),
    "another layer": Corruption("layer bytes", _recompress, ".digest"),
    "no architecture": Corruption("config", _drop("architecture"), "config.architecture"),
    "no operating system": Corruption("config", _set("os", ""), "config.os"),
    "no rootfs": Corruption("config", _drop("rootfs"), "config.rootfs"),
    "another rootfs": Corruption("config", _set("rootfs", "type", "layer"), "config.rootfs.type"),
    "no diff ids": Corruption("config", _drop("rootfs", "diff_ids"), "config.rootfs.diff_ids"),
    "a malformed diff id": Corruption("config", _set("rootfs", "diff_ids", 0, "sha256:x"), "config.rootfs.diff_ids[0]"),
    "another diff id": Corruption("config", _set("rootfs", "diff_ids", 0, _STRANGER), "config.rootfs.diff_ids[0]"),
    "a diff id too many": Corruption(
        "config", lambda config: config["rootfs"]["diff_ids"].append(_STRANGER), "diff_ids", "number of diff ids"
    ),
    "diff ids in another order": Corruption("config", _swap, "config.rootfs.diff_ids", "order", fits=_several),
    "an invalid history": Corruption("config", _set("history", {}), "config.history"),
    "a step too few": Corruption("config", _drop("history", -1), "config.history", "steps", fits=_history),
    "a step too many": Corruption(
        "config", lambda config: config["history"].append({}), "config.history", "steps", fits=_history
    ),
    "an empty step that is not marked": Corruption(
        "config", _drop("history", 0, "empty_layer"), "config.history", "steps", fits=_history
    ),
    "a step of another layer": Corruption(
        "config", _set("history", 1, "comment", f"code layer {_STRANGER}"), "config.history[1]", fits=_history
    ),
    "invalid settings": Corruption("config", _set("config", []), "config.config"),
    "invalid variables": Corruption("config", _set("config", "Env", {"A": "b"}), "config.config.Env"),
    "a variable without a value": Corruption("config", _set("config", "Env", 0, "A"), "config.config.Env"),
    "an invalid command": Corruption("config", _set("config", "Cmd", "x"), "config.config.Cmd"),
    "a label that is no text": Corruption("config", _set("config", "Labels", {"a": 1}), "config.config.Labels"),
    "an invalid user": Corruption("config", _set("config", "User", 1), "config.config.User"),
    "a list of other code layers": Corruption(
        "config", _set("config", "Labels", "dev.topcoat.layers", _STRANGER), "dev.topcoat.layers", fits=_labels
    ),
    "a list of all code layers but the topmost": Corruption(
        "config",
        lambda config: config["config"]["Labels"].update(
            {"dev.topcoat.layers": ",".join(config["rootfs"]["diff_ids"][:-1])}
        ),
        "dev.topcoat.layers",
        fits=_several,
    ),
    "a snapshot that is no digest": Corruption(
        "config", _set("config", "Labels", "dev.topcoat.snapshot", "1"), "dev.topcoat.snapshot", fits=_labels
    ),
    "a target that is not absolute": Corruption(
        "config", _set("config", "Labels", "dev.topcoat.target", "w"), "dev.topcoat.target", fits=_labels
    ),
    "a path twice": Corruption("tree", _add(("top", _FILE, "")), "layers[", "entries"),
    "a directory twice": Corruption("tree", _add(("a/b/", _DIR, "")), "layers[", "entries"),
    "an absolute name": Corruption("tree", _add(("/etc/passwd", _FILE, "")), "layers[", "entries"),
    "a name that leaves": Corruption("tree", _add(("a/../../x", _FILE, "")), "layers[", "entries"),
    "a hard link that leaves": Corruption("tree", _add(("hard", _HARD, "../x")), "layers[", "entries"),
    "a directory after its content": Corruption(
        "tree", _first(("late/x", _FILE, ""), ("late", _DIR, "")), "layers[", "entries"
    ),
    "no directory above an entry": Corruption("tree", _add(("none/x", _FILE, "")), "layers[", "entries"),
    "an entry below a file": Corruption("tree", _add(("top/x", _FILE, "")), "layers[", "entries"),
    "an entry below a link": Corruption("tree", _add(("a/link/x", _FILE, "")), "layers[", "entries"),
    "a path that is deleted too": Corruption("tree", _add((".wh.top", _FILE, "")), "layers[", "entries"),
    "a whiteout of nothing": Corruption("tree", _add(("a/.wh.", _FILE, "")), "layers[", "entries"),
    "a whiteout of the directory above": Corruption("tree", _add(("a/.wh...", _FILE, "")), "layers[", "entries"),
    "an index entry of no image": Corruption(
        "index", _set("manifests", 0, "mediaType", OCI_LAYER), "index.manifests[0].mediaType", fits=_index
    ),
    "an index without entries": Corruption("index", _set("manifests", None), "index.manifests", fits=_index),
    "an invalid platform": Corruption(
        "index", _set("manifests", 0, "platform", "linux"), "index.manifests[0].platform", fits=_index
    ),
    "half a platform": Corruption(
        "index", _drop("manifests", 0, "platform", "os"), "index.manifests[0].platform.os", fits=_index
    ),
    "another platform than the config's": Corruption(
        "index", _set("manifests", 0, "platform", "architecture", "amd64"), "config", "platform", fits=_index
    ),
    "other bytes of a manifest": Corruption(
        "manifest bytes",
        lambda blob: blob.replace(lambda data: data + b"\n"),
        "index.manifests[0].digest",
        fits=_index,
    ),
    "another schema version of an index": Corruption(
        "index", _set("schemaVersion", "2"), "index.schemaVersion", fits=_index
    ),
}


@settings(deadline=None)
@given(shapes)
def test_a_valid_image_is_clean(shape: Shape) -> None:
    image = make(shape)
    assert image.mismatches() == []
    validate(image.data, image.open, media_type=image.media_type)
    assert find_mismatches(image.data) == [], "content that is not available is not checked"


@pytest.mark.parametrize("name", CORRUPTIONS)
@settings(max_examples=10, deadline=None)
@given(shape=shapes)
def test_each_single_corruption_is_reported(name: str, shape: Shape) -> None:
    corruption = CORRUPTIONS[name]
    if not corruption.fits(shape):
        return
    mismatches = make(shape, corruption).mismatches()
    reported = [item for item in mismatches if corruption.where in item.where and corruption.what in item.what]
    assert reported, f"{mismatches} of {shape}"
    assert all(str(item).startswith(item.where) and item.found and item.expected != item.found for item in mismatches)


_SHAPES = [
    Shape("oci", ("gzip", "none", "zstd"), True, True, True),
    Shape("docker", ("gzip", "none"), True, True, True),
]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_corruption_fits_an_image(name: str) -> None:
    assert any(CORRUPTIONS[name].fits(shape) for shape in _SHAPES)


@pytest.mark.parametrize("shape", _SHAPES, ids=["oci", "docker"])
def test_every_mismatch_is_reported_at_once(shape: Shape) -> None:
    image = make(shape._replace(indexed=False))
    manifest = json.loads(image.data)
    manifest["schemaVersion"] = 1
    manifest["layers"][0]["size"] += 1
    manifest["layers"][1]["digest"] = "nonsense"
    config = manifest["config"]["digest"]
    image.blobs[config] = image.blobs[config].replace(b'"linux"', b'""').replace(b'["x"]', b"7")
    data = json.dumps(manifest).encode()
    with pytest.raises(InvalidImage) as raised:
        validate(data, image.open, name="h/app:1")
    text = str(raised.value)
    for said in ("h/app:1", "schemaVersion", "layers[0].size", "layers[1].digest", "config.os", "config.Cmd", "digest"):
        assert said in text
    lines = text.splitlines()[1:]
    assert len(lines) == len(find_mismatches(data, image.open))
    assert raised.value.hint


def test_oci_manifests_may_have_docker_layers() -> None:
    image = make(Shape("oci", ("gzip", "zstd"), True, True, False))
    manifest = json.loads(image.data)
    manifest["layers"][0]["mediaType"] = DOCKER_LAYER_GZIP
    assert find_mismatches(json.dumps(manifest).encode(), image.open) == []


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_bytes_that_are_not_a_json_object_are_one_mismatch(data: bytes) -> None:
    (found,) = find_mismatches(data)
    assert found.what == "JSON"


def test_a_recursive_index_ends() -> None:
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_describe(OCI_INDEX, b"x")]}
    data = json.dumps(index).encode()
    mismatches = find_mismatches(data, lambda descriptor: io.BytesIO(data))
    assert "nesting" in {item.what for item in mismatches}


def test_a_stream_is_read_once_and_closed() -> None:
    image = make(Shape("oci", ("gzip", "zstd"), True, True, True))
    opened: list[BinaryIO] = []

    def note(descriptor: Descriptor) -> BinaryIO | None:
        stream = image.open(descriptor)
        assert stream is not None
        opened.append(stream)
        return stream

    assert find_mismatches(image.data, note) == []
    assert len(opened) == 5
    assert all(stream.closed for stream in opened)


@pytest.mark.parametrize(
    ("values", "text"), [(["a"], "'a'"), ([b"a\xff"], "a\\xff"), ([1, 2, 3, 4, 5], "1, 2, 3 and 2 more")]
)
def test_long_lists_are_shortened(values: list[object], text: str) -> None:
    assert listed(values) == text
