"""The image that the built-in components run in when none is named."""

from __future__ import annotations

import os

IMAGE_VARIABLE = "TOPCOAT_IMAGE"


def default_image() -> str:
    """Return ``$TOPCOAT_IMAGE``, else the empty string.

    Schedulers that run on this machine need no image, the others refuse an empty one: topcoat publishes no
    image of its own, and to guess one would start somebody else's code. ``[component:utils.sh] image = ...``
    in ``.torchxconfig`` sets it for one component.
    """
    return os.environ.get(IMAGE_VARIABLE, "")
