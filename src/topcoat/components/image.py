"""The default image of the built-in components."""

from __future__ import annotations

import os

from topcoat.specs.default_image import DEFAULT_IMAGE, IMAGE_VARIABLE


def default_image() -> str:
    """Return ``$TOPCOAT_IMAGE``, or a plain Python image; local schedulers ignore it.

    ``image`` in the sections ``[cli:run]`` and ``[component:utils.sh]`` of ``.torchxconfig`` sets it for all components
    and for one.
    """
    return os.environ.get(IMAGE_VARIABLE) or DEFAULT_IMAGE
