"""Programs that built-in components run in images that only have Python.

Each is one file without imports from topcoat, run as ``python3 -c <its text> <arguments>``. It does nothing when it is
imported, and must not contain a dollar sign, which starts a macro.
"""

from __future__ import annotations

from functools import cache


@cache
def program(name: str) -> str:
    """Return the text of the program *name*."""
    from importlib.resources import files

    return files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
