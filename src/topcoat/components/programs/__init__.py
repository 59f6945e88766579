"""Programs that built-in components send along, for images that hold no more than Python.

Each is one file of plain Python, run as ``python3 -c <its text> <arguments>``. None has a dollar sign in it,
which would be read as a macro.
"""

from __future__ import annotations

from functools import cache


@cache
def program(name: str) -> str:
    """Return the text of the program *name*."""
    from importlib.resources import files

    return files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
