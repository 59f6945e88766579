"""What every image destination relies on."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from topcoat.images.build import ImageOptions, plan_image

from tests.support import workspaces
from tests.support.pushing import destination
from topcoat.destinations.base import ImageBuild
from topcoat.errors import WorkspaceChanged
from topcoat.oci.patch import CodeLayer
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import Layer, Packed
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.plan import PlannedLayer
from topcoat.testing.registry import FakeRegistry


@pytest.fixture
def build(tmp_path: Path) -> ImageBuild:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    with FakeRegistry() as fake:
        fake.add_image("base", "1", config={"config": {"WorkingDir": "/w"}})
        return plan_image(workspace, f"{fake.host}/base:1", destination(f"{fake.host}/app"), ImageOptions())


def _piece(build: ImageBuild) -> PlannedLayer:
    return PlannedLayer("key", EntryGroup(build.scan.snapshot.entries, ()), None)


def test_a_packed_piece_is_remembered(build: ImageBuild) -> None:
    memory = LayerCache()
    packed = build.pack(_piece(build), memory)
    assert memory.get_layer("key") == packed.layer
    assert len(packed.blob.read()) == packed.layer.size


def test_a_piece_in_the_spool_is_taken_from_its_start_each_time(build: ImageBuild) -> None:
    waiting = Packed(Layer("sha256:a", "sha256:b", 3), io.BytesIO(b"abc"))
    spooled = build._replace(spool={"key": waiting})
    for _ in range(2):
        assert spooled.pack(_piece(build), LayerCache()).blob.read() == b"abc"
    assert spooled.without_spool().spool == {}
    assert waiting.blob.closed


def test_a_changed_file_stays_that(build: ImageBuild, tmp_path: Path) -> None:
    (tmp_path / "w/a.py").unlink()
    with pytest.raises(WorkspaceChanged):
        build.pack(_piece(build), LayerCache())


def test_the_layers_are_a_label(build: ImageBuild) -> None:
    image = build.patch([CodeLayer("sha256:" + "a" * 64, "sha256:" + "b" * 64, 1)])
    labels = json.loads(image.config)["config"]["Labels"]
    assert labels["dev.topcoat.layers"] == "sha256:" + "a" * 64
    assert labels["dev.topcoat.target"] == "/w"
