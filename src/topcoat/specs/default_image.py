"""The image of roles that are given no image."""

from __future__ import annotations

import os

from topcoat.errors import UsageError
from topcoat.notices import notice

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
