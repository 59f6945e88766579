"""Each public package exports its public names, and a typed example uses every one of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = {
    "topcoat": "components.py",
    "topcoat.specs": "specs.py",
    "topcoat.workspace": "workspace.py",
    "topcoat.schedulers": "schedulers.py",
    "topcoat.runner": "runner.py",
    "topcoat.components": "components.py",
    "topcoat.testing": "components.py",
}
"""Each public package, and the typed example for it in ``tests/typing``."""

MODULES = {
    "topcoat.schedulers.api": "schedulers.py",
    "topcoat.workspace.api": "workspace.py",
}
"""Public modules: they export what they define, and may also export imported names."""

_TYPING = Path(__file__).parent / "typing"


def _source(module: str) -> ast.Module:
    return ast.parse(Path(str(import_module(module).__file__)).read_text(encoding="utf-8"))


def _exported(module: str) -> list[str]:
    names: list[str] = getattr(import_module(module), "__all__", [])
    return names


def _visible(tree: ast.Module, *, imports: bool) -> Iterator[str]:
    """Yield the public names that a module defines, and with *imports* those that it imports from topcoat."""
    for node in _statements(tree.body):
        names: list[str] = []
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and not _is_type_variable(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        elif imports and isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("topcoat."):
            names = [alias.asname or alias.name for alias in node.names]
        yield from (name for name in names if not name.startswith("_") and name != "TYPE_CHECKING")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from node.body


def _is_type_variable(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "TypeVar"


def _used(example: str) -> set[str]:
    tree = ast.parse((_TYPING / example).read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


LAZY = ("topcoat", "topcoat.schedulers", "topcoat.specs")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_exports_exactly_its_public_names(package: str) -> None:
    # Imports under TYPE_CHECKING are for annotations, except in packages that load their exports on access.
    tree = _source(package)
    shown = set(_visible(tree, imports=True)) - (set() if package in LAZY else _for_annotations(tree))
    assert {name for name in _exported(package) if not name.startswith("__")} == shown


def _for_annotations(tree: ast.Module) -> set[str]:
    inside = [inner for node in tree.body if isinstance(node, ast.If) for inner in ast.walk(node)]
    imported = [alias for node in inside if isinstance(node, ast.ImportFrom) for alias in node.names]
    return {alias.asname or alias.name for alias in imported}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_exports_what_it_defines(module: str) -> None:
    assert set(_visible(_source(module), imports=False)) <= set(_exported(module))


@pytest.mark.parametrize("module", [*PACKAGES, *MODULES])
def test_every_exported_name_exists_and_is_listed_once(module: str) -> None:
    names = _exported(module)
    assert len(set(names)) == len(names)
    assert all(hasattr(import_module(module), name) for name in names)


@pytest.mark.parametrize("module", PACKAGES)
def test_a_star_import_in_a_fresh_process_gives_every_exported_name(module: str) -> None:
    code = f"from {module} import *\nprint(*(n for n in dir() if n[:2] != '__' or n == '__version__'))\n"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) >= set(_exported(module))


@pytest.mark.parametrize(("module", "example"), {**PACKAGES, **MODULES}.items(), ids=[*PACKAGES, *MODULES])
def test_a_typed_example_uses_every_exported_name(module: str, example: str) -> None:
    internal = {"set_image"}
    assert set(_exported(module)) - internal <= _used(example)


def test_the_type_checker_reads_the_typed_examples() -> None:
    configured = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert 'files = ["src/topcoat", "tests/typing"]' in configured.splitlines()
