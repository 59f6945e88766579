"""How Kubernetes expands ``$(NAME)`` in commands and environment: a copy of the rule, not of the code."""

from __future__ import annotations

from collections.abc import Mapping


def expand(text: str, env: Mapping[str, str]) -> str:
    """Return what a process gets for *text* (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    out, rest = "", text
    while "$" in rest[:-1]:
        before, _, after = rest.partition("$")
        out += before
        if after.startswith("$"):
            out, rest = out + "$", after[1:]
        elif after.startswith("(") and ")" in after:
            name, _, rest = after[1:].partition(")")
            out += env.get(name, f"$({name})")
        elif after.startswith("("):
            out, rest = out + "$(", after[1:]
        else:
            # The original takes one byte, and breaks a longer character.
            assert after[:1].isascii(), text
            out, rest = out + "$" + after[:1], after[1:]
    return out + rest
