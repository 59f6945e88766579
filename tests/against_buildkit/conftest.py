"""The engines that build for comparison, once per run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.against_buildkit.buildx import Buildx
from tests.components.daemons import Docker


@pytest.fixture(scope="session")
def buildx_today(docker_today: Docker, scratch: Path) -> Buildx:
    """Builds by today's engine on containerd's store: what is below an image's layers stays as it is."""
    return _buildx(docker_today, scratch)


@pytest.fixture(scope="session")
def buildx_classic(docker_today_classic: Docker, scratch: Path) -> Buildx:
    """Builds by today's engine on the classic store: a layer that omits a parent directory resets it."""
    return _buildx(docker_today_classic, scratch)


@pytest.fixture(scope="session")
def base_layers(scratch: Path) -> Path:
    """The directory for the layers of base images."""
    directory = scratch / "buildkit-bases"
    directory.mkdir()
    return directory


@pytest.fixture
def workspace_root(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory for this test alone, in memory where there is room."""
    import shutil
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="buildkit-", dir=scratch))
    yield directory
    shutil.rmtree(directory)


def _buildx(docker: Docker, scratch: Path) -> Buildx:
    directory = scratch / f"buildx-{docker.name}"
    directory.mkdir()
    return Buildx(docker, directory)
