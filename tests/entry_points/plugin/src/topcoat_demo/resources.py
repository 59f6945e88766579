"""Resources of the package."""

from __future__ import annotations

from topcoat.specs import Resource


def small() -> Resource:
    """Return a size of the package's own."""
    return Resource(cpu=3, gpu=0, memMB=333)


def gpu_small() -> Resource:
    """Return what this package means by a name that is built in."""
    return Resource(cpu=7, gpu=7, memMB=777)


def broken() -> Resource:
    """Fail."""
    raise OSError("no inventory here")
