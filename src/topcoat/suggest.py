"""Suggest what the user may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, choices: Iterable[str], *, prefix: str = "", otherwise: str = "") -> str:
    """Return the hint ``did you mean A or B?`` with the *choices* that look like *name*, *otherwise* if none does.

    *prefix* is shown before each choice and not compared.
    """
    from difflib import get_close_matches

    matches = get_close_matches(name, list(choices), n=3)
    return f"did you mean {' or '.join(prefix + match for match in matches)}?" if matches else otherwise
