"""The default image of the built-in components."""

from __future__ import annotations

import os

IMAGE_VARIABLE = "TOPCOAT_IMAGE"


def default_image() -> str:
    """Return ``$TOPCOAT_IMAGE``, or an empty string.

    Local schedulers need no image; the others refuse an empty one. Topcoat does not publish an image, and guessing one
    would run a stranger's code. ``[component:utils.sh] image = ...`` in ``.torchxconfig`` sets it for one component.
    """
    return os.environ.get(IMAGE_VARIABLE, "")
