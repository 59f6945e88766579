"""The version, in one place."""

from __future__ import annotations

__version__ = "0.1.0"


def __getattr__(name: str) -> str:
    """Return ``TORCHX_IMAGE``, TorchX's name for the default image of components."""
    if name != "TORCHX_IMAGE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    image: str = import_module("topcoat.specs.default_image").default_image()
    return image
