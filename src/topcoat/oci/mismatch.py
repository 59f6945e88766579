"""Broken rules of the image specification, as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from topcoat.errors import InvalidImage

_MAX_LISTED = 3


class Mismatch(NamedTuple):
    """A rule that an image breaks.

    Attributes:
        where: the part of the image, such as ``manifest.layers[2]`` or ``config.history``.
        what: the rule.
        expected: a right value, or a description of one.
        found: the value in the image.
        fatal: the image cannot be patched. Engines accept many images with other mismatches.
    """

    where: str
    what: str
    expected: str
    found: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: expected {self.expected}, found {self.found}"


def invalid_image(name: str, mismatches: Sequence[Mismatch]) -> InvalidImage:
    """Return the error that lists all *mismatches* of the image *name*, fatal ones first."""
    lines = [f"\n  {mismatch}" for mismatch in sorted(mismatches, key=lambda mismatch: not mismatch.fatal)]
    return InvalidImage(
        f"{name} breaks the image specification:{''.join(lines)}",
        hint="build the image again, or push it again from an intact copy",
    )


def shown(value: object) -> str:
    """Return *value* for an error message: on one line, at most 100 characters."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else repr(value)
    return "nothing" if value is None else text if len(text) <= 100 else f"{text[:97]}..."


def listed(values: Iterable[object]) -> str:
    """Return the first few of *values*, and the number of the others."""
    texts = [shown(value) for value in values]
    more = len(texts) - _MAX_LISTED
    return ", ".join(texts[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
