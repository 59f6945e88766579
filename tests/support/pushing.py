"""Builds as the command line makes them, each with connections of its own unless a test passes some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from docker import DockerClient

from tests.components.images import Pushed
from tests.components.registries import Registry
from topcoat.destinations.base import DeliveryResult
from topcoat.images.options import ImageOptions, image_options, image_opts
from topcoat.pipeline import Connections, build_image, plan_image
from topcoat.pipeline.plans import PatchPlan
from topcoat.specs import Workspace


def plan(
    workspace: Workspace,
    base: str | Pushed,
    repository: str = "",
    *,
    client: DockerClient | None = None,
    connections: Connections | None = None,
    **cfg: Any,
) -> PatchPlan:
    """Plan *workspace* over *base* for *repository* (``host/name``), or for the engine of *client*."""
    name = base if isinstance(base, str) else base.reference
    options = _options({**cfg, "image_repo": repository})
    return cast(PatchPlan, plan_image(workspace, name, options, connections=connections or Connections(client)))


def push(workspace: Workspace, base: str | Pushed, repository: str, **cfg: Any) -> DeliveryResult:
    """Lay *workspace* over *base* and push it to *repository* (``host/name``), with these run options."""
    name = base if isinstance(base, str) else base.reference
    return build_image(workspace, name, _options({**cfg, "image_repo": repository}))


def load(client: DockerClient | None, workspace: Workspace, base: str | Pushed, **cfg: Any) -> DeliveryResult:
    """Lay *workspace* over *base* in the engine of *client*, with these run options."""
    name = base if isinstance(base, str) else base.reference
    return build_image(workspace, name, _options(cfg), connections=Connections(client))


def fresh(registry: Registry, name: str = "app") -> str:
    """Return a repository of *registry* that nothing else uses."""
    return f"{registry.host}/{registry.unique(name)}"


def _options(cfg: Mapping[str, Any]) -> ImageOptions:
    # A run option that does not exist would be ignored.
    assert cfg.keys() <= {name for name, _ in image_opts()}, cfg
    return image_options(cfg)
