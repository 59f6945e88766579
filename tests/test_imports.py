"""Data flows one way: a module imports only from its own row or from rows above it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import topcoat

SOURCE = Path(topcoat.__file__).parent

ROWS = (
    ("errors", "version", "torchx_alias"),
    ("state", "tasks", "notices", "suggest"),
    ("specs",),
    ("scan",),
    ("oci",),
    ("pack",),
    ("rootfs",),
    ("dockerfile",),
    ("http",),
    ("registry",),
    ("engines",),
    ("bases",),
    ("destinations",),
    ("builders",),
    ("images",),
    ("workspace",),
    ("schedulers",),
    ("components",),
    ("runner",),
    ("cli", "__main__"),
)
ROW = {name: row for row, names in enumerate(ROWS) for name in names}

# The one step from a value to a later row that TorchX's API asks for: `Workspace.merge_into` copies files.
ALLOWED = {("specs", "workspace")}

# Shipped fakes may know the model that they imitate, and nothing that uses them.
TESTING = {"errors", "oci", "scan", "specs", "testing"}

# Packages whose modules import each other in one direction too.
ACYCLIC = ("schedulers", "runner", "cli")


def part(module: str) -> str:
    """Return the row's name for a dotted module name."""
    return module.split(".")[1] if "." in module else ""


def modules() -> list[tuple[str, Path]]:
    return [
        (".".join(("topcoat", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"), path)
        for path in sorted(SOURCE.rglob("*.py"))
    ]


def imported(path: Path) -> Iterator[str]:
    """Yield every topcoat module that *path* imports, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "topcoat")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "topcoat":
                yield from (f"topcoat.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            elif node.module and node.module.startswith("topcoat."):
                yield node.module


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: str(value) if "." in str(value) else "")
def test_a_module_imports_from_its_own_row_or_above(module: str, path: Path) -> None:
    own = part(module)
    if own in ("", "plugins"):
        return
    for target in imported(path):
        name = part(target)
        if own == "testing":
            assert name in TESTING, f"{module} imports {target}"
        elif (own, name) not in ALLOWED:
            assert name in ROW, f"{module} imports {target}, which has no row"
            assert ROW[name] <= ROW[own], f"{module} imports {target}: data flows the other way"


def test_every_part_of_the_package_has_a_row() -> None:
    parts = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir()}
    assert parts - {"__init__", "__pycache__", "py", "plugins", "testing"} <= set(ROW)


def _imported_modules(path: Path, names: Collection[str]) -> set[str]:
    """Return the modules out of *names* that *path* imports: ``from package import module`` counts as the module."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    pairs = [(str(node.module), f"{node.module}.{alias.name}") for node in nodes for alias in node.names]
    return {full if full in names else module for module, full in pairs if full in names or module in names}


@pytest.mark.parametrize("package", ACYCLIC)
def test_no_module_of_a_package_imports_itself_through_others(package: str) -> None:
    paths = {module: path for module, path in modules() if part(module) == package}
    edges = {module: _imported_modules(path, paths) - {module} for module, path in paths.items()}
    while leaves := [module for module, targets in edges.items() if not targets]:
        edges = {module: targets - set(leaves) for module, targets in edges.items() if targets}
    assert not edges
