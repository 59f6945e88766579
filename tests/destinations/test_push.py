"""One push: what is copied of the base, and what happens when a part of it fails."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support import workspaces
from tests.support.images import fetch, stacked
from tests.support.inside import expected
from tests.support.pushing import plan, push
from topcoat.destinations import base_layers
from topcoat.errors import RegistryError, WorkspaceChanged
from topcoat.oci.descriptor import Descriptor
from topcoat.pack import layer
from topcoat.registry.client import RegistryClient
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Workspace
from topcoat.testing.registry import FakeRegistry

_LAYERS = 40


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.write(tmp_path / "w", {"a.py": "pass\n", "b.py": "pass\n"})


def _layer(number: int) -> bytes:
    """Return one of as many different layers as one likes, all of them empty."""
    return bytes(512 * (2 + number))


def _base(registry: FakeRegistry, layers: int = _LAYERS) -> str:
    registry.add_image("base", "1", layers=[_layer(number) for number in range(layers)])
    return f"{registry.host}/base:1"


def _uploads(registry: FakeRegistry) -> int:
    return sum(request.method in ("POST", "PUT") for request in registry.requests)


def test_one_refusal_stops_what_has_not_begun(workspace: Workspace) -> None:
    with FakeRegistry() as source, FakeRegistry() as target:
        target.fail(403, times=999, method="POST")
        with pytest.raises(RegistryError):
            push(workspace, _base(source), f"{target.host}/app")
        assert _uploads(target) < _LAYERS / 2
        assert not [thread for thread in threading.enumerate() if thread.name == "topcoat-task"]


def test_a_changed_file_stops_what_has_not_begun(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, open_blob = threading.Event(), RegistryClient.open_blob

    def changed(*args: Any) -> None:
        threading.Timer(0.3, failed.set).start()
        raise WorkspaceChanged("a.py changed")

    def open_when_that_has_failed(client: RegistryClient, repository: str, descriptor: Descriptor) -> Any:
        assert "container.image" in descriptor.media_type or failed.wait(20)
        return open_blob(client, repository, descriptor)

    monkeypatch.setattr("topcoat.destinations.code_layers.pack", changed)
    with FakeRegistry() as source, FakeRegistry() as target:
        planned = plan(workspace, _base(source), f"{target.host}/app")
        monkeypatch.setattr(RegistryClient, "open_blob", open_when_that_has_failed)
        with pytest.raises(WorkspaceChanged):
            planned.carry_out()
        assert _uploads(target) < _LAYERS / 2
        assert target.add_repository("app").manifests == {}


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_layer_that_the_base_lists_twice_is_copied_once(workspace: Workspace, elsewhere: bool) -> None:
    with FakeRegistry() as source, FakeRegistry() as other:
        target = other if elsewhere else source
        source.add_image("base", "1", layers=[_layer(0), _layer(1), _layer(0)])
        delivered = push(workspace, f"{source.host}/base:1", f"{target.host}/app")
        fetched = fetch(target, delivered.image, skip=3)
        assert [each_layer["size"] for each_layer in fetched.manifest["layers"][:3]] == [1024, 1536, 1024]
        assert target.repositories["app"].blobs >= {each_layer["digest"] for each_layer in fetched.manifest["layers"]}
        mounts = [request for request in source.requests if "mount=" in request.path]
        assert len(mounts) == (0 if elsewhere else 2)


def test_a_mount_that_is_not_granted_becomes_an_upload(workspace: Workspace) -> None:
    with FakeRegistry(quirks={"no-mount"}) as registry:
        delivered = push(workspace, _base(registry, 3), f"{registry.host}/app")
        assert fetch(registry, delivered.image, skip=3).config["rootfs"]["diff_ids"]
        assert registry.uploads == {}


def test_a_large_base_is_announced(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, notices: list[str]) -> None:
    monkeypatch.setattr(base_layers, "_MIN_ANNOUNCED_BYTES", 20)
    with FakeRegistry() as source, FakeRegistry() as target:
        base = _base(source, 5)
        for repository in (f"{source.host}/app", f"{target.host}/app"):
            push(workspace, base, repository)
        assert [line for line in notices if "copying" in line] == [
            f"copying up to 0.0 GB of the base from {source.host}"
        ]


def test_layers_beyond_memory_are_spooled_and_removed(
    workspace: Workspace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "_MAX_IN_MEMORY", 0)
    with FakeRegistry() as registry:
        delivered = push(workspace, _base(registry, 1), f"{registry.host}/app")
        fetched = fetch(registry, delivered.image, skip=1)
        snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
        assert stacked(fetched.layers[1:], "/") == expected(snapshot)
    assert list((home / ".cache/topcoat/spool").iterdir()) == []
