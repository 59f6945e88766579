"""Suggest what the user may have meant."""

from __future__ import annotations

import os
from collections.abc import Iterable


def did_you_mean(name: str, choices: Iterable[str], *, prefix: str = "", otherwise: str = "") -> str:
    """Return the hint ``did you mean A or B?`` with the *choices* that look like *name*, *otherwise* if none does.

    *prefix* is shown before each choice and not compared.
    """
    from difflib import get_close_matches

    matches = get_close_matches(name, list(choices), n=3)
    return f"did you mean {' or '.join(prefix + match for match in matches)}?" if matches else otherwise


def run_as_command(file: str) -> str:
    """Return the hint how to run *file*, a program or script, as a job."""
    return f"to run it as a command: topcoat run -- {program_of(file)} ..."


def program_of(file: str) -> str:
    """Return the words that run *file* wherever its directory is the current one."""
    path = file if "/" in file else f"./{file}"
    if os.access(file, os.X_OK):
        return path
    return f"python {file}" if file.endswith(".py") else f"sh {path}"
