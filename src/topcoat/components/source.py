"""Print a component as a file of its own, to start from."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib.util import resolve_name

from topcoat.errors import InvalidComponent

_RELATIVE_IMPORT = re.compile(r"^(\s*from )(\.+[\w.]*)(?= import\b)", re.MULTILINE)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def component_file(function: Callable[..., object]) -> str:
    """Return the text of a Python file with *function* and what it uses of its module: imports, helpers, constants.

    Raises:
        InvalidComponent: the source text is not available.
    """
    function = inspect.unwrap(function)
    name = getattr(function, "__name__", repr(function))
    try:
        module = inspect.getmodule(function)
        text = inspect.getsource(module) if module else ""
        statements = ast.parse(text).body
        if not any(name in _bound_names(statement) for statement in statements):
            raise TypeError("it is not defined in a file")
    except (OSError, TypeError, SyntaxError) as error:
        raise InvalidComponent(f"the source text of {name} is not available: {error}") from error
    package = getattr(module, "__package__", None) or ""
    kept = _used_by(name, statements)
    lines = text.splitlines()
    parts, previous = "", None
    for statement in filter(kept.__contains__, statements):
        own_lines = lines[_first_line(statement, lines) : statement.end_lineno]
        parts += _separator(previous, statement) + "\n".join(own_lines)
        previous = statement
    return _RELATIVE_IMPORT.sub(lambda match: match[1] + resolve_name(match[2], package), parts) + "\n"


def _used_by(name: str, statements: list[ast.stmt]) -> set[ast.stmt]:
    """Return those of a module's *statements* that define *name*, or what their definitions use."""
    binding: dict[str, list[ast.stmt]] = {}
    for statement in statements:
        for bound in _bound_names(statement):
            binding.setdefault(bound, []).append(statement)
    kept = {*binding.get("annotations", []), *binding.get("*", [])}
    names = {name}
    while names:
        for statement in binding.get(names.pop(), []):
            if statement not in kept:
                kept.add(statement)
                names |= _used_names(statement)
    return kept


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _DEFINITIONS):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, _DEFINITIONS):
            yield node.name


def _used_names(statement: ast.stmt) -> set[str]:
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            names.add(node.id)
        for field in ("annotation", "returns"):
            annotation = getattr(node, field, None)
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                names.update(re.findall(r"\w+", annotation.value))
    return names


def _first_line(statement: ast.stmt, lines: list[str]) -> int:
    """Return the index of the first line of *statement*, with its decorators and the comment above it."""
    decorators = statement.decorator_list if isinstance(statement, _DEFINITIONS) else []
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return first


def _separator(previous: ast.stmt | None, statement: ast.stmt) -> str:
    if previous is None:
        return ""
    if isinstance(previous, _DEFINITIONS) or isinstance(statement, _DEFINITIONS):
        return "\n\n\n"
    return "\n" if type(previous) is type(statement) and not _is_future(previous) else "\n\n"


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
