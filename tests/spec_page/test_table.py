"""``docs/spec.md``: every name is where the table says, under both names, and every test that it names exists."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.components.host import unavailable
from tests.spec_page.test_signatures import PAGE

_ROOT = Path(__file__).parents[2]
_TEXT = (_ROOT / "docs/spec.md").read_text(encoding="utf-8")

# Names of the page outside of its API reference: in its code blocks, drawing and text.
ELSEWHERE = {
    "torchx.workspace.WorkspaceMixin",
    "torchx.workspace.docker_workspace.DockerWorkspaceMixin",
    "torchx.workspace.dir_workspace.DirWorkspaceMixin",
    "torchx.specs.AppDef",
    "torchx.specs.CfgVal",
    "torchx.specs.Resource",
    "torchx.specs.Role",
    "torchx.specs.Workspace",
    "torchx.specs.Workspace.from_str",
    "torchx.specs.runopts",
    "torchx.specs.runopts.add",
    "torchx.schedulers.api.Scheduler",
    "torchx.schedulers.api.Scheduler._submit_dryrun",
    "torchx.runner.Runner.run",
}


class Row(NamedTuple):
    """A name of the page, where it lives here, and its test."""

    page: str
    here: str
    test: str


def _rows() -> list[Row]:
    rows, section = [], ""
    for line in _TEXT.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        cells = [cell.strip(" `") for cell in line.strip().strip("|").split("|")]
        if section.startswith("torchx.") and len(cells) == 3 and cells[1].startswith("topcoat."):
            rows.append(Row(f"{section}.{cells[0]}", cells[1], cells[2]))
    return rows


ROWS = _rows()
TESTS = sorted(set(re.findall(r"`(tests/\S+?\.py::\S+?)`", _TEXT)))

_FIND = """
import json
from importlib import import_module
def find(name):
    first, *rest = name.split(".")
    value, module = import_module(first), first
    for part in rest:
        module = f"{module}.{part}"
        value = getattr(value, part) if hasattr(value, part) else import_module(module)
    return value
"""


def _find(name: str) -> object:
    namespace: dict[str, object] = {}
    exec(_FIND, namespace)
    return namespace["find"](name)  # type: ignore[operator]


def _page_name(module: str, qualname: str) -> str:
    """Return the page's name for one of our functions."""
    public = {"topcoat.workspace.api": "torchx.workspace", "topcoat.workspace.walk": "torchx.workspace"}
    return f"{public.get(module, module.replace('topcoat', 'torchx'))}.{qualname}"


def test_the_table_has_every_name_of_the_page_once() -> None:
    reference = {_page_name(f.__module__, f.__qualname__) for f in PAGE if f.__name__ != "__init__"}
    names = [row.page for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(names) == reference | ELSEWHERE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.page)
def test_a_name_is_where_the_table_says(row: Row) -> None:
    assert _find(row.here) is not None


def test_every_name_is_the_same_object_under_the_alias() -> None:
    pairs = [(row.page, row.here) for row in ROWS]
    code = (
        "import topcoat\ntopcoat.install_as_torchx()\n"
        f"{_FIND}\nprint(json.dumps([[a, b] for a, b in {pairs!r} if find(a) != find(b)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    if "TorchX is installed, and" in done.stderr:
        unavailable("a Python without TorchX", "TorchX is installed beside topcoat")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@cache
def _tests_in(path: str) -> set[str]:
    tree = ast.parse((_ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("test", TESTS)
def test_every_named_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert name in _tests_in(path)


def test_every_row_has_a_test() -> None:
    rows = [line for line in _TEXT.splitlines() if line.startswith(("| `", "| entry"))]
    assert len(rows) > len(ROWS)
    assert all("`tests/" in line for line in rows)


def test_modules_of_the_page_can_be_imported() -> None:
    for module in re.findall(r"^## (torchx\.\S+)$", _TEXT, re.MULTILINE):
        assert import_module(module.replace("torchx", "topcoat"))
