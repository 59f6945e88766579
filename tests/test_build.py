"""The pipeline, end to end: what is in the workspace is in the container, on every engine, from every registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.components.daemons import Containerd, Docker
from tests.components.host import Tool
from tests.components.images import Flavour, Image
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.bases import pushed
from tests.support.inside import expected, look
from topcoat.build import ImageOptions, build_image
from topcoat.destinations.registry import RegistryDestination
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan

ENGINES = ["docker20", "docker_today", "docker_today_classic", "podman", "containerd"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("server", "flavour"), [("registry", "docker"), ("registry3", "oci")])
def test_a_container_sees_the_workspace(
    engine: str, server: str, flavour: Flavour, request: pytest.FixtureRequest, python_image: Image, tmp_path: Path
) -> None:
    running: Docker | Containerd = request.getfixturevalue(engine)
    registry: Registry = request.getfixturevalue(server)
    base = pushed(registry, python_image, flavour=flavour)
    workspace = workspaces.odd(tmp_path / "w")
    target = Reference.parse(f"{registry.host}/{registry.unique()}")
    name = build_image(workspace, base.reference, RegistryDestination(target, Clients())).image
    print(look(running, name, "/").cwd)
