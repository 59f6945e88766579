"""The pipeline, end to end: what is in the workspace is in the container, on every engine, from every registry."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.components.daemons import Containerd, Docker
from tests.components.host import Tool
from tests.components.images import NATIVE, Flavour, Image
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.bases import pushed
from tests.support.images import fetch, names
from tests.support.inside import Inside, Seen, expected, look
from tests.support.pushing import destination, fresh, push
from topcoat.build import ImageOptions, build_image, parse_chown, plan_image
from topcoat.destinations.base import ImageBuild
from topcoat.destinations.registry import RegistryDestination
from topcoat.errors import NoSuchPlatform, UsageError, WorkspaceChanged
from topcoat.oci.reference import Reference
from topcoat.pack.tar import Ownership
from topcoat.registry.clients import Clients
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Modes, ScanOptions, scan
from topcoat.scan.snapshot import Snapshot
from topcoat.specs import Workspace

_ENGINES = ["docker20", "docker_today", "docker_today_classic", "podman", "containerd"]
_looked: dict[tuple[str, str], Inside] = {}


@pytest.fixture(params=_ENGINES)
def engine(request: pytest.FixtureRequest) -> Docker | Containerd:
    """Each engine in turn."""
    running: Docker | Containerd = request.getfixturevalue(request.param)
    return running


def _snapshot(workspace: Workspace, modes: Modes = "portable") -> Snapshot:
    return scan(workspace, ScanOptions(IMAGE_IGNORE_FILES, modes)).snapshot


def _base_inside(engine: Docker | Containerd, reference: str) -> Inside:
    key = (str(engine), reference)
    if key not in _looked:
        _looked[key] = look(engine, reference, "/")
    return _looked[key]


@pytest.mark.parametrize(("server", "flavour"), [("registry", "docker"), ("registry3", "oci")])
def test_a_container_sees_the_workspace_and_the_untouched_base(
    engine: Docker | Containerd,
    server: str,
    flavour: Flavour,
    request: pytest.FixtureRequest,
    python_image: Image,
    tmp_path: Path,
) -> None:
    registry: Registry = request.getfixturevalue(server)
    base = pushed(registry, python_image, flavour=flavour)
    workspace = workspaces.odd(tmp_path / "w")
    before = _base_inside(engine, base.reference)

    image = push(workspace, base, fresh(registry)).image
    after = look(engine, image, "/")

    assert after.below("/app") == {**before.below("/app"), **expected(_snapshot(workspace))}
    assert after.outside("/app") == before.outside("/app")
    assert after.files[b"/app"][:4] == ("dir", 0o755, 0, 0)
    assert after.cwd == after.env["WORKSPACE_DIR"] == after.env["PYTHONPATH"] == "/app"
    assert after.env["LANG"] == before.env["LANG"]


def test_modes_owner_and_directory_can_be_chosen(
    engine: Docker | Containerd, registry: Registry, python_image: Image, tmp_path: Path
) -> None:
    base = pushed(registry, python_image)
    workspace = workspaces.odd(tmp_path / "w")
    before = _base_inside(engine, base.reference)

    chosen: dict[str, Any] = {"modes": "exact", "chown": "1000:2000", "workspace_dir": "/srv/me/code/"}
    after = look(engine, push(workspace, base, fresh(registry), **chosen).image, "/")

    assert after.below("/srv/me/code") == expected(_snapshot(workspace, "exact"), 1000, 2000)
    assert after.below("/srv/me/code")[b"modes"].mode == 0o2750
    new = {path: seen for path, seen in after.outside("/srv/me/code").items() if path not in before.files}
    assert {path: seen[:4] for path, seen in new.items()} == dict.fromkeys([b"/srv", b"/srv/me"], ("dir", 0o755, 0, 0))
    assert after.files[b"/srv/me/code"].mode == 0o755
    assert after.cwd == after.env["WORKSPACE_DIR"] == "/srv/me/code"
