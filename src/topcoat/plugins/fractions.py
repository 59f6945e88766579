"""Fractions of a host, for named resources that divide it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WHOLE = 1.0
HALF = 0.5
QUARTER = 0.25
EIGHTH = 0.125
SIXTEENTH = 0.0625

Fractions = dict[float, str]
"""Fraction of the host to the suffix of the resource's name."""


def powers_of_two_gpus(resource: Any) -> Fractions:
    """Return a fraction for 1, 2, 4... GPUs of *resource*: ``{1.0: "8", 0.5: "4", 0.25: "2", 0.125: "1"}`` for 8.

    Raise ``ValueError`` if its number of GPUs is not a power of two.
    """
    gpus = resource.gpu
    if gpus < 1 or gpus & (gpus - 1):
        raise ValueError(f"cannot halve {gpus} GPUs down to one: the number must be a power of two")
    return {0.5**n: str(gpus >> n) for n in range(gpus.bit_length())}


def halve_mem_down_to(*, minGiB: int) -> Callable[[Any], Fractions]:  # noqa: N803  (TorchX's name)
    """Return a function that halves a resource's memory until *minGiB*: ``{1.0: "64", 0.5: "32", 0.25: "16"}``.

    It raises ``ValueError`` if the memory is not a positive number of GiB, or a half of it would not be one.
    """

    def fractions(resource: Any) -> Fractions:
        gib, rest = divmod(resource.memMB, 1024)
        if gib < 1 or rest:
            raise ValueError(f"cannot halve {resource.memMB} MiB of memory: it must be a positive number of GiB")
        odd = gib // (gib & -gib)
        if minGiB < odd:
            raise ValueError(f"cannot halve {gib} GiB of memory down to minGiB={minGiB}: minGiB must be at least {odd}")
        return {0.5**n: str(gib >> n) for n in range(gib.bit_length()) if gib >> n >= minGiB}

    return fractions
