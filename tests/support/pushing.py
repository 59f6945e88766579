"""Push images as the command line does, each with new connections."""

from __future__ import annotations

from typing import Any

from tests.components.images import Pushed
from tests.components.registries import Registry
from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.registry import RegistryDestination
from topcoat.images.build import ImageOptions, build_image
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.specs import Workspace


def destination(repository: str) -> RegistryDestination:
    """Return the destination ``host/name``, without open connections."""
    return RegistryDestination(Reference.parse(repository), Clients())


def push(workspace: Workspace, base: str | Pushed, repository: str, **options: Any) -> DeliveryResult:
    """Lay *workspace* over *base* and push it to *repository* (``host/name``)."""
    name = base if isinstance(base, str) else base.reference
    return build_image(workspace, name, destination(repository), ImageOptions(**options))


def fresh(registry: Registry, name: str = "app") -> str:
    """Return a repository of *registry* that no other test uses."""
    return f"{registry.host}/{registry.unique(name)}"
