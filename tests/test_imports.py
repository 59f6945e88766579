"""Data flows one way: rows of packages, no circles, and no private name of one package used in another."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import topcoat

SOURCE = Path(topcoat.__file__).parent

# A module imports from its own row and from the rows above it.
ROWS = (
    ("errors", "version", "torchx_alias"),
    (
        *("state", "records", "linked_files", "regular_files", "leftovers"),
        *("tasks", "notices", "transfers", "suggest", "foreign_text", "system_text", "aws"),
    ),
    ("plugins",),
    ("specs",),
    ("helpers",),
    ("scan",),
    ("oci",),
    ("pack",),
    ("rootfs",),
    ("dockerfile",),
    ("http",),
    ("registry",),
    ("engines",),
    ("bases",),
    ("images",),
    ("destinations",),
    ("builders",),
    ("pipeline",),
    ("workspace",),
    ("schedulers",),
    ("components",),
    ("runner",),
    ("cli", "__main__"),
)
ROW = {name: row for row, names in enumerate(ROWS) for name in names}

# Shipped fakes may import the model that they imitate, and nothing that uses them.
TESTING = {"errors", "oci", "scan", "specs", "testing"}

# Names of other libraries: NamedTuple's public methods, and what has no public name there.
LIBRARIES = {
    "_replace",
    "_asdict",
    "_exit",
    "_strip_protocol",
    "_parent",
    "_response",
    "_actions",
    "_option_string_actions",
    "_AppendAction",
    "_HelpAction",
}

# TorchX's name for the engine's client, which subclasses of its mixin use.
TORCHX = {"_docker_client"}


def _package(module: str) -> str:
    """Return the name in ROWS for a dotted module name, empty for ``topcoat`` itself."""
    return module.split(".")[1] if "." in module else ""


def _modules() -> dict[str, Path]:
    return {
        ".".join(("topcoat", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in sorted(SOURCE.rglob("*.py"))
    }


MODULES = _modules()


def _imported(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each topcoat module that *path* imports, and the name from it, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "topcoat")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                if node.module and node.module.split(".")[0] == "topcoat":
                    submodule = f"{node.module}.{alias.name}"
                    yield (submodule, "") if submodule in MODULES else (node.module, alias.name)


IMPORTS = {name: sorted({target for target, _ in _imported(path)} - {name}) for name, path in MODULES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_row_or_above(module: str) -> None:
    own = _package(module)
    for target in IMPORTS[module]:
        package = _package(target)
        if own == "testing":
            assert package in TESTING, f"{module} imports {target}"
        elif own and package:
            assert package in ROW, f"{module} imports {target}, which has no row"
            assert ROW[package] <= ROW[own], f"{module} imports {target}: data flows the other way"


def test_every_part_of_the_package_has_a_row() -> None:
    parts = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir()}
    assert parts - {"__init__", "__pycache__", "py", "testing"} == set(ROW)


def test_no_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            for target in IMPORTS.get(module, ()):
                visit(target, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def _private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("module", MODULES)
def test_no_private_name_of_another_package_is_used(module: str) -> None:
    own = _package(module)
    tree = ast.parse(MODULES[module].read_text())
    for target, name in _imported(MODULES[module]):
        assert _package(target) == own or not _private(name), f"{module} imports {name} of {target}"
    # Attributes have no declared owner: a private one has to be defined somewhere in the same package.
    defined = set(TORCHX)
    for other, path in MODULES.items():
        if _package(other) == own:
            defined |= _defined(ast.parse(path.read_text()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _private(node.attr) and node.attr not in LIBRARIES:
            assert node.attr in defined, f"{module}:{node.lineno} uses .{node.attr}"


def _defined(tree: ast.AST) -> set[str]:
    """Return the names that a module defines or assigns as attributes of ``self`` or ``cls``."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def test_no_module_acts_on_import(tmp_path: Path) -> None:
    for name in ("run", "train.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    code = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(SOURCE.parent)!r})\n"
        f"for name in {sorted(MODULES)!r}:\n"
        "    importlib.import_module(name)\n"
    )
    command = [sys.executable, "-I", "-c", code, "run", "train.py"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "run": "# run\n",
        "train.py": "# train.py\n",
    }
