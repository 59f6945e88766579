"""Every image that a test pushes, held against the specification when the test ends."""

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
"""Gives the content of ``manifests`` or ``blobs`` by digest, None where it is gone."""


class _Pushed(NamedTuple):
    host: str
    repository: str
    data: bytes
    media_type: str


@contextlib.contextmanager
def validated_pushes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note what is pushed from this process inside the block, and validate it at the end: manifests, configs, layers.

    The layers of bases are left out: tests make bases of whatever they like.
    """
    pushed: list[_Pushed] = []
    fakes: dict[str, FakeRegistry] = {}
    put, enter = RegistryClient.put_manifest, FakeRegistry.__enter__

    def noted_put(self: RegistryClient, repository: str, identifier: str, data: bytes, media_type: str) -> str:
        digest = put(self, repository, identifier, data, media_type)
        pushed.append(_Pushed(str(self.registry), repository, data, media_type))
        return digest

    def noted_enter(self: FakeRegistry) -> FakeRegistry:
        fakes[self.host] = self
        return enter(self)

    monkeypatch.setattr(RegistryClient, "put_manifest", noted_put)
    monkeypatch.setattr(FakeRegistry, "__enter__", noted_enter)
    yield
    for one in pushed:
        fake = fakes.get(one.host)
        read = _from_fake(fake, one.repository) if fake else _over_http(one.host, one.repository)
        name = f"{one.host}/{one.repository}"
        validate(one.data, _code_only(read, one.data), media_type=one.media_type, name=name)


def validate_image(registry: Registry, repository: str, tag: str) -> None:
    """Fetch an image with all its layers, its base's too, or an index with all its images, and validate it."""
    accept = {"Accept": ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))}
    answer = registry.request("GET", f"/v2/{repository}/manifests/{tag}", headers=accept)
    assert answer.status == 200, answer.body
    read = _over_http(registry.host, repository)
    validate(answer.body, _everything(read), media_type=answer.headers["content-type"], name=f"{repository}:{tag}")


def _everything(read: Read) -> Opener:
    def open_blob(descriptor: Descriptor) -> BinaryIO | None:
        kind = "manifests" if descriptor.media_type in MANIFEST_TYPES | INDEX_TYPES else "blobs"
        data = read(kind, descriptor.digest)
        return None if data is None else io.BytesIO(data)

    return open_blob


def _code_only(read: Read, data: bytes) -> Opener:
    """Return what opens everything but the layers of the base."""
    of_the_base: set[str] = set()
    _note_base(read, json.loads(data), of_the_base)
    everything = _everything(read)
    return lambda descriptor: None if descriptor.digest in of_the_base else everything(descriptor)


def _note_base(read: Read, document: dict[str, Any], found: set[str]) -> None:
    for entry in document.get("manifests", ()):
        child = read("manifests", entry["digest"])
        if child is not None:
            _note_base(read, json.loads(child), found)
    if "layers" in document:
        config = json.loads(read("blobs", document["config"]["digest"]) or b"{}")
        labels = (config.get("config") or {}).get("Labels") or {}
        code = [one for one in labels.get("dev.topcoat.layers", "").split(",") if one]
        layers = [layer["digest"] for layer in document["layers"]]
        found |= set(layers[: len(layers) - len(code)])


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
            with urllib.request.urlopen(request, timeout=60) as answer:
                data: bytes = answer.read()
                return data
        except (urllib.error.HTTPError, urllib.error.URLError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            return None

    return read
