"""Plugins of installed packages, registered as for TorchX (``torchx.plugins``).

A package puts modules into the namespace packages ``torchx_plugins.schedulers``, ``torchx_plugins.named_resources`` or
``torchx_plugins.components`` and decorates its functions with ``register``. The entry point groups ``torchx.*`` and
``topcoat.*`` are found too.
"""

from topcoat.plugins.fractions import (
    EIGHTH,
    HALF,
    QUARTER,
    SIXTEENTH,
    WHOLE,
    halve_mem_down_to,
    powers_of_two_gpus,
)
from topcoat.plugins.register import register, resource_tags
from topcoat.plugins.registry import PluginRegistry, PluginType, RegistrationError, registry

__all__ = [
    "EIGHTH",
    "HALF",
    "QUARTER",
    "SIXTEENTH",
    "WHOLE",
    "PluginRegistry",
    "PluginType",
    "RegistrationError",
    "halve_mem_down_to",
    "powers_of_two_gpus",
    "register",
    "registry",
    "resource_tags",
]
