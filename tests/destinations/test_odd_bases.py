"""Images over bases with faults of their own: real registries store them, and real engines pull, load and run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.components.daemons import Containerd, Docker
from tests.components.host import ENVIRON
from tests.components.images import Image
from tests.components.registries import Registry
from tests.destinations.test_engine import _client
from tests.destinations.test_media_types import ENGINES, _digest, _reads
from tests.oci.test_repair import LAYERS, SETTINGS, TOP, Layers
from tests.support import workspaces
from tests.support.inside import runner
from tests.support.pushing import fresh, load, push
from tests.support.validated import validate_image
from topcoat.oci.manifest import DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST

_CONTENT = "code over an odd base"
# These need layers that are stored accordingly.
_KINDS = ["OCI types", "Docker types", "missing"]
_FAULTS = [*TOP, *SETTINGS, *_KINDS]
# Each fault on one engine, in turn; TOPCOAT_ODD_BASES=all means each fault on every engine.
_PULLS = [
    (fault, engine)
    for number, fault in enumerate(_FAULTS)
    for position, engine in enumerate(ENGINES)
    if ENVIRON.get("TOPCOAT_ODD_BASES") == "all" or position == number % len(ENGINES)
]


def _craft(registry: Registry, busybox: Image, change: dict[str, Any], layer: dict[str, Any], media_type: str) -> str:
    """Push busybox with this *change* of its config and these keys of its layer's descriptor; return the reference."""
    repository, tar = registry.unique("odd"), busybox.layers[0].file.read_bytes()
    document = {**json.loads(busybox.build().config), **change}
    if "Entrypoint" in (document.get("config") or ()):
        # Engines run what the tests read with.
        document["config"]["Entrypoint"] = document["config"]["Entrypoint"] and "/bin/env"
    if "rootfs" in change:
        diff_ids = [busybox.layers[0].diff_id.upper() if "SHA" in str(change) else busybox.layers[0].diff_id]
        document["rootfs"] = {**change["rootfs"], "diff_ids": diff_ids}
    config = json.dumps({key: value for key, value in document.items() if value is not None}).encode()
    for data in (tar, config):
        opened = registry.request("POST", f"/v2/{repository}/blobs/uploads/")
        place = opened.headers["location"]
        put = registry.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={_digest(data)}", data)
        assert put.status == 201, put.body
    config_type = DOCKER_CONFIG if media_type == DOCKER_MANIFEST else OCI_CONFIG
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "digest": _digest(config), "size": len(config)},
        "layers": [{"digest": _digest(tar), "size": len(tar), **layer}],
    }
    put = registry.request(
        "PUT", f"/v2/{repository}/manifests/1", json.dumps(manifest).encode(), {"Content-Type": media_type}
    )
    assert put.status == 201, put.body
    return f"{registry.host}/{repository}:1"


_pushed: dict[object, str] = {}


def _patched(registry: Registry, busybox: Image, directory: Path, fault: str, media_type: str) -> tuple[str, str]:
    """Return base and patched image, pushed once."""
    if (fault, media_type) not in _pushed:
        layer: Layers = LAYERS[fault][:1] if fault in _KINDS else [{"mediaType": DOCKER_LAYER_GZIP}]
        settings = SETTINGS.get(fault)
        change = TOP.get(fault, {}) if settings is None else {"config": {**busybox.config, **settings}}
        base = _craft(registry, busybox, change, layer[0], media_type)
        workspace = workspaces.write(directory / "w", {"content": _CONTENT})
        _pushed[fault, media_type] = base
        _pushed["patched", fault, media_type] = push(workspace, base, fresh(registry), workspace_dir="/code").image
    return _pushed[fault, media_type], _pushed["patched", fault, media_type]


@pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, OCI_MANIFEST])
@pytest.mark.parametrize("fault", _FAULTS)
def test_an_image_over_an_odd_base_is_valid_and_stored_by_a_registry(
    registry: Registry, busybox_image: Image, tmp_path: Path, fault: str, media_type: str
) -> None:
    _, image = _patched(registry, busybox_image, tmp_path, fault, media_type)
    repository, _, tag = image.partition("/")[2].rpartition(":")
    validate_image(registry, repository, tag)


@pytest.mark.parametrize(("fault", "engine_name"), _PULLS)
def test_an_engine_pulls_and_runs_an_image_over_an_odd_base(
    registry: Registry,
    busybox_image: Image,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    fault: str,
    engine_name: str,
) -> None:
    engine: Docker | Containerd = request.getfixturevalue(engine_name)
    _, image = _patched(registry, busybox_image, tmp_path, fault, DOCKER_MANIFEST)
    assert _reads(engine, image, "/code/content") == _CONTENT


@pytest.mark.parametrize("fault", ["fewer steps than layers", "variables without a value"])
def test_an_engine_loads_and_runs_an_image_over_an_odd_base_that_it_has(
    registry: Registry, busybox_image: Image, tmp_path: Path, any_docker: Docker, fault: str
) -> None:
    base, _ = _patched(registry, busybox_image, tmp_path, fault, DOCKER_MANIFEST)
    workspace = workspaces.write(tmp_path / "w", {"content": _CONTENT})
    with _client(any_docker) as client:
        loaded = load(client, workspace, base, workspace_dir="/code")
    assert runner(any_docker)(loaded.image, ["cat", "/code/content"]) == _CONTENT
