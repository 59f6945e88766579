"""Components of the package."""

from __future__ import annotations

from topcoat.specs import AppDef, Resource, Role


def greet(who: str = "world") -> AppDef:
    """Greet somebody.

    Args:
        who: to greet
    """
    role = Role("greet", "base", entrypoint="echo", args=["hello", who], resource=Resource(cpu=1, gpu=0, memMB=64))
    return AppDef("greet", [role])
