"""What an image has that an image must not have, as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from topcoat.errors import InvalidImage

_SHOWN = 3


class Mismatch(NamedTuple):
    """An invariant of an image that does not hold.

    Attributes:
        where: the part of the image, such as ``manifest.layers[2]`` or ``config.history``.
        what: the invariant.
        expected: what would be right.
        found: what is there.
        fatal: nothing right can be laid over such an image. Engines take many that have other mismatches.
    """

    where: str
    what: str
    expected: str
    found: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: expected {self.expected}, found {self.found}"


def invalid_image(name: str, mismatches: Sequence[Mismatch]) -> InvalidImage:
    """Return the error that lists all *mismatches* of the image *name*, those that are fatal first."""
    lines = [f"\n  {one}" for one in sorted(mismatches, key=lambda one: not one.fatal)]
    return InvalidImage(
        f"{name} breaks the image specification:{''.join(lines)}",
        hint="build the image again, or push it again from where it is whole",
    )


def shown(value: object) -> str:
    """Return *value* as an error shows it: on one line, and not too long."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else repr(value)
    return "nothing" if value is None else text if len(text) <= 100 else f"{text[:97]}..."


def listed(values: Iterable[object]) -> str:
    """Return the first few of *values*, and how many more there are."""
    found = [shown(value) for value in values]
    more = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
