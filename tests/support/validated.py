"""Validate every image that a test pushes against the specification, at the end of the test."""

from __future__ import annotations

import contextlib
import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import pytest

from tests.components.registries import Registry
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import INDEX_TYPES, MANIFEST_TYPES
from topcoat.registry.client import RegistryClient
from topcoat.testing.registry import FakeRegistry
from topcoat.testing.validate import Opener, validate

Read = Callable[[str, str], "bytes | None"]
"""Return the content of ``manifests`` or ``blobs`` by digest, or None if it is missing."""


class _Pushed(NamedTuple):
    host: str
    repository: str
    data: bytes
    media_type: str


@contextlib.contextmanager
def validated_pushes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Record the images that this process pushes in the block, and validate manifests, configs and layers at its end.

    The layers of bases are skipped: tests use invalid bases too.
    """
    pushed: list[_Pushed] = []
    fakes: dict[str, FakeRegistry] = {}
    put, enter = RegistryClient.put_manifest, FakeRegistry.__enter__

    def recording_put(self: RegistryClient, repository: str, identifier: str, data: bytes, media_type: str) -> str:
        digest = put(self, repository, identifier, data, media_type)
        pushed.append(_Pushed(str(self.registry), repository, data, media_type))
        return digest

    def recording_enter(self: FakeRegistry) -> FakeRegistry:
        fakes[self.host] = self
        return enter(self)

    monkeypatch.setattr(RegistryClient, "put_manifest", recording_put)
    monkeypatch.setattr(FakeRegistry, "__enter__", recording_enter)
    yield
    for image in pushed:
        fake = fakes.get(image.host)
        read = _from_fake(fake, image.repository) if fake else _over_http(image.host, image.repository)
        name = f"{image.host}/{image.repository}"
        validate(image.data, _code_only(read, image.data), media_type=image.media_type, name=name)


def validate_image(registry: Registry, repository: str, tag: str) -> None:
    """Fetch and validate an image with all of its layers, or an index with all of its images."""
    accept = {"Accept": ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))}
    response = registry.request("GET", f"/v2/{repository}/manifests/{tag}", headers=accept)
    assert response.status == 200, response.body
    read = _over_http(registry.host, repository)
    validate(response.body, _everything(read), media_type=response.headers["content-type"], name=f"{repository}:{tag}")


def _everything(read: Read) -> Opener:
    def open_blob(descriptor: Descriptor) -> BinaryIO | None:
        kind = "manifests" if descriptor.media_type in MANIFEST_TYPES | INDEX_TYPES else "blobs"
        data = read(kind, descriptor.digest)
        return None if data is None else io.BytesIO(data)

    return open_blob


def _code_only(read: Read, data: bytes) -> Opener:
    """Return a function that opens every blob except the layers of the base."""
    base_digests: set[str] = set()
    _add_base_digests(read, json.loads(data), base_digests)
    everything = _everything(read)
    return lambda descriptor: None if descriptor.digest in base_digests else everything(descriptor)


def _add_base_digests(read: Read, document: dict[str, Any], digests: set[str]) -> None:
    for entry in document.get("manifests", ()):
        child = read("manifests", entry["digest"])
        if child is not None:
            _add_base_digests(read, json.loads(child), digests)
    if "layers" in document:
        config = json.loads(read("blobs", document["config"]["digest"]) or b"{}")
        labels = (config.get("config") or {}).get("Labels") or {}
        code = [digest for digest in labels.get("dev.topcoat.layers", "").split(",") if digest]
        layers = [layer["digest"] for layer in document["layers"]]
        digests |= set(layers[: len(layers) - len(code)])


def _from_fake(fake: FakeRegistry, repository: str) -> Read:
    def read(kind: str, digest: str) -> bytes | None:
        if kind == "manifests":
            return fake.repositories[repository].manifests.get(digest, ("", None))[1]
        return fake.blobs.get(digest)

    return read


def _over_http(host: str, repository: str) -> Read:
    def read(kind: str, digest: str) -> bytes | None:
        accept = {"Accept": ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))}
        request = urllib.request.Request(f"http://{host}/v2/{repository}/{kind}/{digest}", headers=accept)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                data: bytes = response.read()
                return data
        except (urllib.error.HTTPError, urllib.error.URLError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            return None

    return read
