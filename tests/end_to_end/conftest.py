"""What the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.components.images import Image
from tests.components.registries import Registry
from tests.end_to_end.servers import Server
from tests.support.validated import validated_pushes
from topcoat.testing.registry import FakeRegistry


@pytest.fixture(autouse=True)
def _validated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every image that a test here pushes is one."""
    with validated_pushes(monkeypatch):
        yield


@pytest.fixture
def fake_server() -> Iterator[Server]:
    """The registry in memory."""
    with FakeRegistry() as registry:
        yield Server(registry, registry.requests)


@pytest.fixture
def real_server(registry: Registry, busybox_image: Image) -> Iterator[Server]:
    """A real registry."""
    with registry.recording() as log:
        yield Server(registry, log, busybox_image)
