"""The registry in memory and a real one behind one face, for tests that count what they are asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tests.components.images import Image
from tests.components.registries import Registry
from tests.support.fake_bases import add_base
from tests.support.images import Fetched, fetch
from topcoat.testing.registry import FakeRegistry


class Asked(Protocol):
    """A request, of either registry."""

    @property
    def method(self) -> str:
        """Of the request."""

    @property
    def path(self) -> str:
        """With its query."""


class Server:
    """A registry, and what it was asked since ``forget`` was last called."""

    def __init__(self, registry: Registry | FakeRegistry, log: Iterable[Asked], image: Image | None = None) -> None:
        self.registry = registry
        self.host = registry.host
        self._log = log
        self._image = image
        self._seen = 0

    def base(self, name: str) -> str:
        """Push a base that differs from all others; return its reference."""
        if isinstance(self.registry, FakeRegistry):
            return add_base(self.registry, name)
        assert self._image is not None
        config = {"WorkingDir": "/app", "Labels": {"name": name}}
        return self._image.push(self.registry, self.registry.unique(name), "1", config=config).reference

    def repository(self, name: str = "app") -> str:
        """Return a repository that nothing else uses."""
        return f"{self.host}/{name if isinstance(self.registry, FakeRegistry) else self.registry.unique(name)}"

    def forget(self) -> None:
        """Count from here."""
        self._seen = len(self._all())

    def requests(self) -> list[tuple[str, str]]:
        """Return method and path of each request since then."""
        return self._all()[self._seen :]

    def uploads(self) -> int:
        """Count the blobs that were sent; what was mounted was not."""
        return sum(method in ("PUT", "PATCH") and "/blobs/uploads/" in path for method, path in self.requests())

    def manifests(self) -> int:
        """Count the manifests that were sent: the images."""
        return sum(method == "PUT" and "/manifests/" in path for method, path in self.requests())

    def writes(self) -> list[tuple[str, str]]:
        """Return the requests that change something."""
        return [request for request in self.requests() if request[0] not in ("GET", "HEAD")]

    def image(self, name: str) -> Fetched:
        """Fetch an image, checking every digest."""
        return fetch(self.registry, name)

    def _all(self) -> list[tuple[str, str]]:
        return [(exchange.method, exchange.path) for exchange in self._log]
