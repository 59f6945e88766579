"""Base images in registries, pushed once per test run."""

from __future__ import annotations

import json
from typing import Any

from tests.components.images import Config, Flavour, Image, Pushed
from tests.components.registries import Registry

_pushed: dict[str, Pushed] = {}


def pushed(
    registry: Registry,
    image: Image,
    *,
    flavour: Flavour = "docker",
    config: Config | None = None,
    platforms: tuple[str, ...] = (),
) -> Pushed:
    """Push *image* to a repository of *registry* that no test writes to, once, and return it."""
    key = json.dumps([registry.host, image.name, flavour, config, platforms])
    if key not in _pushed:
        options: dict[str, Any] = {"platforms": platforms} if platforms else {}
        _pushed[key] = image.push(registry, registry.unique("base"), "1", config=config, flavour=flavour, **options)
    return _pushed[key]
