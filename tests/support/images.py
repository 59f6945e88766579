"""Fetch images from registries and read their layers."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tests.components.registries import Registry
from tests.support.inside import Seen
from topcoat.oci.compression import decompressed
from topcoat.testing.registry import FakeRegistry

_ACCEPT = ", ".join(
    [
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
    ]
)


class Fetched(NamedTuple):
    """An image: its manifest as bytes, its config, and the tar of each layer, unpacked."""

    raw: bytes
    config: dict[str, Any]
    layers: tuple[bytes, ...]

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest, parsed."""
        parsed: dict[str, Any] = json.loads(self.raw)
        return parsed

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return "sha256:" + hashlib.sha256(self.raw).hexdigest()

    def code(self, base_layers: int) -> list[list[tarfile.TarInfo]]:
        """Return the members of each layer above the base's."""
        return [_members(data) for data in self.layers[base_layers:]]


def fetch(registry: Registry | FakeRegistry, image: str, *, skip: int = 0) -> Fetched:
    """Fetch ``host/repository:tag`` and check every digest; the first *skip* layers are returned empty."""
    repository, _, tag = image.partition("/")[2].rpartition(":")
    read = _fake(registry, repository) if isinstance(registry, FakeRegistry) else _real(registry, repository)
    raw = read("manifests", tag)
    manifest = json.loads(raw)
    layers = []
    for number, layer in enumerate(manifest["layers"]):
        data = b"" if number < skip else read("blobs", layer["digest"])
        assert number < skip or len(data) == layer["size"]
        layers.append(decompressed(io.BytesIO(data)).read())
    config = json.loads(read("blobs", manifest["config"]["digest"]))
    diff_ids = config["rootfs"]["diff_ids"]
    assert len(diff_ids) == len(manifest["layers"])
    for diff_id, tar in list(zip(diff_ids, layers, strict=True))[skip:]:
        assert diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
    return Fetched(raw, config, tuple(layers))


def stacked(tars: Iterable[bytes], target: str) -> dict[bytes, Seen]:
    """Return the files that the *tars* of code layers create below *target*; later layers override earlier ones."""
    prefix = target.strip("/").encode() + b"/" if target.strip("/") else b""
    files: dict[bytes, Seen] = {}
    for tar in tars:
        with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape", encoding="utf-8") as archive:
            for member in archive:
                name = member.name.encode("utf-8", "surrogateescape")
                assert not name.rpartition(b"/")[2].startswith(b".wh."), f"a whiteout: {name!r}"
                if not name.startswith(prefix):
                    assert member.isdir(), f"{name!r} is outside of the target"
                    continue
                files[name[len(prefix) :]] = _seen(archive, member)
    return files


def names(tar: bytes) -> set[str]:
    """Return the names of everything in a layer."""
    return {member.name for member in _members(tar)}


def _seen(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Seen:
    content = b""
    if member.isreg():
        file = archive.extractfile(member)
        assert file is not None
        content = hashlib.sha256(file.read()).digest()
    elif member.issym():
        content = member.linkname.encode("utf-8", "surrogateescape")
    kind = "dir" if member.isdir() else "link" if member.issym() else "file"
    return Seen(kind, member.mode, member.uid, member.gid, content)


def _members(tar: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape", encoding="utf-8") as archive:
        return archive.getmembers()


def _fake(registry: FakeRegistry, repository: str) -> Callable[[str, str], bytes]:
    stored = registry.repositories[repository]

    def read(kind: str, identifier: str) -> bytes:
        if kind == "manifests":
            return stored.manifests[stored.tags.get(identifier, identifier)][1]
        assert identifier in stored.blobs, f"{repository} has no blob {identifier}"
        return registry.blobs[identifier]

    return read


def _real(registry: Registry, repository: str) -> Callable[[str, str], bytes]:
    def read(kind: str, identifier: str) -> bytes:
        response = registry.request("GET", f"/v2/{repository}/{kind}/{identifier}", headers={"Accept": _ACCEPT})
        assert response.status == 200, response.body
        return response.body

    return read
