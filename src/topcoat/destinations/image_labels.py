"""Tell by its labels whether an image is the one that its tag stands for."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.errors import TagMoved
from topcoat.foreign_text import escaped


def check_labels(name: str, digest: str, labels: object, expected: Mapping[str, str], remembered: str = "") -> None:
    """Check the *labels* that an image, which *name* refers to, has in its config.

    Args:
        name: with the tag.
        digest: of the image, or its id in an engine.
        labels: as in the config: anything but an object means none.
        expected: the labels that it must have.
        remembered: digest of the image that this machine knows by that name, if any.

    Raises:
        TagMoved: a label is missing or different.
    """
    actual = labels if isinstance(labels, Mapping) else {}
    label = next((label for label, value in expected.items() if actual.get(label) != value), "")
    if not label:
        return
    stated = escaped(str(actual[label]), 100) if label in actual else "missing"
    why = f"its label {label} is {stated}, expected {expected[label]}"
    if remembered:
        why += f"; this machine knows it as {remembered}"
    raise TagMoved(
        f"{name} refers to another image, {digest}: {why}",
        hint="somebody has moved the tag: -cfg rebuild=true overwrites it",
    )
