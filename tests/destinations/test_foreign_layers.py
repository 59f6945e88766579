"""Layers that may not be distributed keep their descriptor and URLs, and no byte of them travels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.components.images import Image
from tests.support import workspaces
from tests.support.pushing import push
from topcoat.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_FOREIGN_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_FOREIGN_LAYER,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
)
from topcoat.testing.registry import FakeRegistry

_URLS = ["https://example.org/layer.tar.gz"]
_TYPES = {
    DOCKER_MANIFEST: (DOCKER_CONFIG, DOCKER_FOREIGN_LAYER, DOCKER_LAYER_GZIP),
    OCI_MANIFEST: (OCI_CONFIG, f"{OCI_FOREIGN_LAYER}+gzip", OCI_LAYER_GZIP),
}


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _base(media_type: str, busybox: Image) -> tuple[bytes, list[bytes]]:
    """Return the manifest of busybox over a foreign layer, and the blobs that a registry has of it."""
    config_type, foreign_type, layer_type = _TYPES[media_type]
    tar = busybox.layers[0].file.read_bytes()
    document = json.loads(busybox.build().config)
    document["rootfs"]["diff_ids"].insert(0, _digest(b"a foreign tar"))
    document["history"].insert(0, {"created_by": "foreign"})
    config = json.dumps(document).encode()
    layers = [
        {"mediaType": foreign_type, "digest": _digest(b"a foreign layer"), "size": 1000, "urls": _URLS},
        {"mediaType": layer_type, "digest": _digest(tar), "size": len(tar)},
    ]
    described = {"mediaType": config_type, "digest": _digest(config), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": described, "layers": layers}
    return json.dumps(manifest).encode(), [tar, config]


@pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, OCI_MANIFEST])
@pytest.mark.parametrize("where", ["another repository", "another registry"])
def test_a_foreign_layer_of_the_base_is_neither_read_nor_copied(
    busybox_image: Image, tmp_path: Path, media_type: str, where: str
) -> None:
    with FakeRegistry() as source, FakeRegistry() as other:
        target = source if where == "another repository" else other
        manifest, blobs = _base(media_type, busybox_image)
        for blob in blobs:
            source.add_blob("base", blob, "application/octet-stream")
        source.store_manifest("base", "1", manifest, media_type)
        workspace = workspaces.write(tmp_path / "w", {"content": "code"})
        image = push(workspace, f"{source.host}/base:1", f"{target.host}/app", workspace_dir="/code").image
        found: Any = target.manifest("app", image.rpartition(":")[2])
        requests = [*source.requests, *other.requests]
    assert not any(_digest(b"a foreign layer") in request.path for request in requests)
    assert found["layers"][0] == json.loads(manifest)["layers"][0]
    assert len(found["layers"]) == 3
