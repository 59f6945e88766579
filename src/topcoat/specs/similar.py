"""Hints for misspelled names."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return ``did you mean X or Y?`` with up to three of *names* that are similar to *name*, or an empty string.

    *cutoff* is the minimum similarity, from 0 to 1.
    """
    import difflib

    matches = difflib.get_close_matches(name, list(names), n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(matches)}?" if matches else ""
