"""Read help texts from a component's docstring, in Google's style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns?|Raises|Yields?|Examples?|Notes?|Usage|Warning):\s*\Z")
_PARAMETER_SECTIONS = ("Args", "Arguments", "Parameters")
_PARAMETER = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")
_FIELD = re.compile(r":(\w+)(?:\s+[^:]*?(\w+))?:\s*(.*)")


class Docstring(NamedTuple):
    """Hold the text before the first section, and the parameters' texts by name."""

    description: str
    parameters: dict[str, str]


def parse_docstring(function: Callable[..., object]) -> Docstring:
    """Parse *function*'s docstring; without a docstring, the result is empty.

    Parameters are read from an ``Args:`` section or from ``:param x:`` fields; the last text of a parameter counts.
    """
    description: list[str] = []
    parameters: dict[str, list[str]] = {}
    section: str | None = ""
    current: list[str] | None = None
    depth = 0
    for line in (inspect.getdoc(function) or "").splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        header = _SECTION.fullmatch(line)
        field = _FIELD.fullmatch(line)
        if header or field:
            section, current, depth = (header[1] if header else None), None, 0
            if field and field[1] == "param" and field[2]:
                current = parameters[field[2]] = [field[3]]
        elif section == "":
            description.append(line)
        elif text and section in _PARAMETER_SECTIONS:
            match = _PARAMETER.fullmatch(text)
            depth = depth or indent
            if match and indent <= depth:
                current = parameters[match[1]] = [match[2]]
            elif current is not None:
                current.append(text)
        elif text and section is None and current is not None:
            current.append(text)
    return Docstring(
        "\n".join(description).strip(),
        {name: " ".join(filter(None, lines)) for name, lines in parameters.items()},
    )
