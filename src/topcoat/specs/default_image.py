"""The image of roles that are given no image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from topcoat.errors import InvalidApp, UsageError
from topcoat.notices import notice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from topcoat.specs.app import Role

DEFAULT_IMAGE = "docker.io/library/python:3.12-slim"
IMAGE_VARIABLE = "TOPCOAT_IMAGE"


def default_image() -> str:
    """Return ``$TOPCOAT_IMAGE``, or a plain Python image; local schedulers ignore it.

    ``image`` in the sections ``[cli:run]`` and ``[component:utils.sh]`` of ``.torchxconfig`` sets it for all components
    and for one.
    """
    return os.environ.get(IMAGE_VARIABLE) or DEFAULT_IMAGE


def check_image(image: str) -> None:
    """Print a notice if *image*, which is about to be used, is the default one.

    Raises:
        UsageError: it is empty.
    """
    if not image:
        raise UsageError(
            "no image to lay the code over", hint="--image BASE; a Dockerfile.torchx without ARG IMAGE needs none"
        )
    if image == DEFAULT_IMAGE:
        notice(
            f"no image given: using {image}; choose one with --image, `image` in the section [cli:run] of "
            f".torchxconfig, or {IMAGE_VARIABLE}"
        )


def check_role_images(roles: Iterable[Role]) -> None:
    """Check the images of *roles* that run in containers, except where a ``Dockerfile.torchx`` may need none.

    Raises:
        InvalidApp: a role has none.
    """
    for role in roles:
        if role.workspace:
            continue
        if not role.image:
            raise InvalidApp(
                f"the role {role.name} has no image to run in a container",
                hint="--image IMAGE; components also take it from TOPCOAT_IMAGE",
            )
        check_image(role.image)
