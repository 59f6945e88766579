from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from topcoat.components.finder import get_component
from topcoat.components.loader import load_file
from topcoat.errors import InvalidComponent, MissingDependency, TopcoatError, UnknownComponent
from topcoat.specs import materialize_appdef
from topcoat.specs.signature import component_help

COMPONENT = "from topcoat.specs import AppDef\ndef train(name: str = 'a') -> AppDef:\n    return AppDef(name)\n"


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        del sys.modules[name]


@pytest.mark.parametrize("spelling", ["comp.py", "./comp.py", "{}/comp.py"])
def test_a_component_of_a_file_is_found(spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "comp.py").write_text(COMPONENT)
    monkeypatch.chdir(tmp_path)
    component = get_component(spelling.format(tmp_path) + ":train")
    assert component.name == spelling.format(tmp_path) + ":train"
    assert materialize_appdef(component.fn, ["--name=b"]).name == "b"


def test_a_file_can_import_the_files_beside_it_and_its_package(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_comp.py").write_text("NAME = 'from-neighbour'\n")
    (tmp_path / "comp.py").write_text("from neighbour_of_comp import NAME\n" + COMPONENT.replace("'a'", "NAME"))
    assert materialize_appdef(get_component(f"{tmp_path}/comp.py:train").fn, []).name == "from-neighbour"
    (tmp_path / "pkg_of_comp").mkdir()
    (tmp_path / "pkg_of_comp/__init__.py").write_text("")
    (tmp_path / "pkg_of_comp/names.py").write_text("NAME = 'from-package'\n")
    (tmp_path / "pkg_of_comp/comp.py").write_text("from .names import NAME\n" + COMPONENT.replace("'a'", "NAME"))
    component = get_component(f"{tmp_path}/pkg_of_comp/comp.py:train")
    assert materialize_appdef(component.fn, []).name == "from-package"
    assert component.fn.__module__ == "pkg_of_comp.comp"


def test_the_same_file_is_loaded_once(tmp_path: Path) -> None:
    (tmp_path / "comp.py").write_text(COMPONENT)
    assert load_file(f"{tmp_path}/comp.py") is load_file(f"{tmp_path}/../{tmp_path.name}/comp.py")


def test_a_file_does_not_replace_a_module_of_the_same_name(tmp_path: Path) -> None:
    import json

    (tmp_path / "json.py").write_text(COMPONENT)
    assert load_file(f"{tmp_path}/json.py") is not json
    assert sys.modules["json"] is json
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/__init__.py").write_text("")
    (tmp_path / "tests/comp_of_tests.py").write_text(COMPONENT)
    import tests

    component = get_component(f"{tmp_path}/tests/comp_of_tests.py:train")
    assert materialize_appdef(component.fn, []).name == "a"
    assert sys.modules["tests"] is tests


def test_a_class_of_a_file_can_be_found_through_its_module(tmp_path: Path) -> None:
    text = "import dataclasses, typing\n@dataclasses.dataclass\nclass Made:\n    x: 'typing.Optional[int]' = None\n"
    (tmp_path / "comp.py").write_text("from __future__ import annotations\n" + text)
    made = load_file(f"{tmp_path}/comp.py").Made
    assert sys.modules[made.__module__].Made is made


@pytest.mark.parametrize(
    ("text", "function", "error", "message"),
    [
        (COMPONENT, "trian", UnknownComponent, "has no function 'trian'"),
        (COMPONENT, "AppDef", UnknownComponent, "has no function 'AppDef'"),
        ("def train(:\n", "train", InvalidComponent, r"comp\.py:1: "),
        ("import no_such_module_here\n", "train", MissingDependency, "No module named 'no_such_module_here'"),
        ("1 / 0\n", "train", InvalidComponent, "cannot be loaded: ZeroDivisionError: division by zero"),
        ("from json import nope\n", "train", InvalidComponent, "cannot be loaded: ImportError"),
    ],
)
def test_a_file_without_the_component_is_an_error(
    text: str, function: str, error: type[TopcoatError], message: str, tmp_path: Path
) -> None:
    (tmp_path / "comp.py").write_text(text)
    with pytest.raises(error, match=message):
        get_component(f"{tmp_path}/comp.py:{function}")


def test_a_missing_file_or_module_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownComponent, match=r"cannot read the component file .*/none\.py: No such file"):
        get_component(f"{tmp_path}/none.py:train")
    with pytest.raises(UnknownComponent, match="Is a directory"):
        get_component(f"{tmp_path}/:train")
    with pytest.raises(UnknownComponent, match="no module named 'no_such_package'"):
        get_component("no_such_package:train")


CLASSES = """
from topcoat.specs import AppDef, Role

class Trainer:
    '''Train a model.

    Args:
        epochs: how often
    '''
    def __init__(self, epochs: int, hosts: dict[str, list[str]], untyped="u") -> None:
        self.args = [str(epochs), str(hosts), untyped]

    def build(self) -> AppDef:
        return AppDef("t", [Role("r", "i", entrypoint="e", args=self.args)])

class NotOne:
    pass
"""


def test_a_class_with_a_method_build_is_a_component(tmp_path: Path) -> None:
    (tmp_path / "comp.py").write_text(CLASSES)
    function = get_component(f"{tmp_path}/comp.py:Trainer").fn
    words = ["--epochs", "3", "--hosts", "a=x,y,b=z", "--untyped", "v"]
    assert materialize_appdef(function, words).roles[0].args == ["3", "{'a': ['x', 'y'], 'b': ['z']}", "v"]
    assert "how often" in component_help(function, "Trainer")
    with pytest.raises(InvalidComponent, match="NotOne is a class without a method build"):
        get_component(f"{tmp_path}/comp.py:NotOne")


TORCHX_COMPONENT = """
from typing import Dict, Optional

import torchx
import torchx.specs as specs
from torchx.components import dist
from torchx.specs.api import macros


def train(script: str, image: str = torchx.IMAGE, env: Optional[Dict[str, str]] = None) -> specs.AppDef:
    app = dist.ddp(script=script, image=image, env=env)
    app.roles[0].args.append(macros.app_id)
    return app
"""


@pytest.mark.parametrize("indirect", [False, True])
def test_a_file_that_imports_torchx_gets_topcoat(tmp_path: Path, indirect: bool) -> None:
    (tmp_path / "comp.py").write_text(TORCHX_COMPONENT)
    if indirect:
        (tmp_path / "front.py").write_text("from comp import train\n")
    code = (
        "import sys\n"
        "from topcoat.components.finder import get_component\n"
        "from topcoat.specs import AppDef, materialize_appdef\n"
        "app = materialize_appdef(get_component(sys.argv[1]).fn, ['--script=x.py', '--env', 'A=1'])\n"
        "assert type(app) is AppDef\n"
        "print(app.name, app.roles[0].env['A'], app.roles[0].args[-1])\n"
    )
    target = f"{tmp_path}/{'front' if indirect else 'comp'}.py:train"
    done = subprocess.run(
        [sys.executable, "-c", code, target], check=False, capture_output=True, text=True, env={**os.environ}
    )
    assert (done.stdout, done.stderr) == ("x 1 ${app_id}\n", "")


@pytest.mark.parametrize("link", [True, False])
def test_the_line_of_a_syntax_error_is_shown_unless_a_link_leads_out_of_the_directory(
    tmp_path: Path, link: bool
) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "secret").write_text("hush = hush hush\n")
    path = tmp_path / "w/component.py"
    if link:
        path.symlink_to("../secret")
    else:
        path.write_text((tmp_path / "secret").read_text())
    with pytest.raises(InvalidComponent, match=r"component.py:1: invalid syntax") as caught:
        load_file(str(path))
    assert ("hush" in str(caught.value)) is not link


def test_a_component_file_that_leads_to_the_environment_of_a_process_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "component.py").symlink_to("/proc/self/environ")
    with pytest.raises(UnknownComponent, match=r"component.py leads to /proc or /sys"):
        load_file(str(tmp_path / "component.py"))
