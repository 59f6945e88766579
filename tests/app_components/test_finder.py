from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from topcoat.components import finder
from topcoat.components.finder import (
    ComponentNotFoundException,
    ComponentValidationException,
    get_builtin_source,
    get_component,
    get_components,
)
from topcoat.errors import InvalidComponent, UnknownComponent
from topcoat.specs import materialize_appdef

COMPONENTS = '''
"""My components."""

from topcoat.specs import AppDef


def train(epochs: int = 1) -> AppDef:
    """Train a
    model.

    Long.
    """
    return AppDef(f"train-{epochs}")


def evaluate() -> "AppDef":
    return AppDef("evaluate")


def helper() -> str:
    return "no component"


def _private() -> AppDef:
    return AppDef("private")
'''


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        del sys.modules[name]
    _clear_caches()


def _clear_caches() -> None:
    finder._entry_points.cache_clear()
    finder._load_entry.cache_clear()


@pytest.fixture
def package(tmp_path: Path) -> str:
    """An importable package with components in itself and in a submodule."""
    (tmp_path / "mypkg/sub").mkdir(parents=True)
    (tmp_path / "mypkg/__init__.py").write_text(COMPONENTS)
    (tmp_path / "mypkg/sub/__init__.py").write_text("")
    (tmp_path / "mypkg/sub/deep.py").write_text(COMPONENTS)
    sys.path.append(str(tmp_path))
    return "mypkg"


def installed(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Make *values*, entry name to value, those of the group topcoat.components."""
    entries = [EntryPoint(name, value, "topcoat.components") for name, value in values.items()]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda *, group: entries if group == "topcoat.components" else []
    )
    _clear_caches()


def test_torchx_components_are_built_in() -> None:
    names = ["echo", "touch", "sh", "copy", "python", "binary"]
    assert get_components().keys() >= {f"utils.{name}" for name in names} | {
        "dist.torchrun",
        "dist.ddp",
        "dist.spmd",
    }
    component = get_component("utils.echo")
    assert (component.name, component.fn_name, component.description) == ("utils.echo", "echo", "Print a message.")
    assert materialize_appdef(component.fn, ["--msg=hi"]).name == "echo"
    assert "def echo(" in get_builtin_source("utils.echo")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("utils.ech", "did you mean utils.echo"),
        ("dist.dpp", "did you mean dist.ddp"),
        ("ddp", "dist.ddp"),
        ("nowhere.at.all", "known: "),
        ("json.nope", "dumps"),
        ("zzzzzzz", "known: dist.ddp, dist.spmd"),
    ],
)
def test_the_error_for_an_unknown_name_suggests_similar_names(name: str, hint: str) -> None:
    with pytest.raises(UnknownComponent) as caught:
        get_component(name)
    assert name.rpartition(".")[2] in caught.value.message
    assert hint in str(caught.value.hint)


def test_torchx_exception_names_are_aliases() -> None:
    assert ComponentNotFoundException is UnknownComponent
    assert ComponentValidationException is InvalidComponent


@pytest.mark.parametrize("name", ["mypkg:train", "mypkg.train", "mypkg.sub.deep:train", "mypkg.sub.deep.train"])
def test_a_component_of_a_module_is_found_by_its_import_name(package: str, name: str) -> None:
    assert materialize_appdef(get_component(name).fn, ["--epochs=2"]).name == "train-2"


def test_an_installed_package_adds_components_and_keeps_the_others(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, mine=package, _x="mypkg.sub", one="mypkg.sub.deep:train", utils="mypkg.sub.deep")
    names = set(get_components())
    assert names >= {"mine.train", "mine.evaluate", "mine.sub.deep.train", "deep.train", "one", "utils.train"}
    assert names >= {"utils.echo", "dist.ddp"}
    assert not any("helper" in name or "_private" in name for name in names)
    assert get_component("mine.train").description == "Train a model."
    assert materialize_appdef(get_component("one").fn, []).name == "train-1"


def test_an_installed_package_replaces_a_built_in_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(COMPONENTS.replace("def train", "def echo"))
    sys.path.append(str(tmp_path))
    installed(monkeypatch, utils="theirs")
    assert materialize_appdef(get_component("utils.echo").fn, []).name == "train-1"
    assert materialize_appdef(get_component("utils.sh").fn, ["ls"]).name == "sh"


def test_only_packages_that_may_have_the_component_are_loaded(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, mine=package)
    get_component("utils.echo")
    assert package not in sys.modules
    get_component("mine.train")
    assert package in sys.modules


def test_a_package_that_cannot_be_loaded_is_logged_and_skipped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed(monkeypatch, broken="no_such_package_anywhere")
    with caplog.at_level(logging.WARNING):
        assert "utils.echo" in get_components()
    assert "the entry point broken = no_such_package_anywhere cannot be loaded" in caplog.text
    assert "skipped" in caplog.text


def test_an_entry_that_names_torchxs_components_means_those_of_topcoat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if TorchX were installed: its own modules are not loaded.
    (tmp_path / "torchx/components").mkdir(parents=True)
    for path in ("torchx/__init__.py", "torchx/components/__init__.py"):
        (tmp_path / path).write_text("raise SystemExit('TorchX was loaded')\n")
    sys.path.insert(0, str(tmp_path))
    installed(monkeypatch, torchx="torchx.components", one="torchx.components.utils:echo")
    assert get_components().keys() >= {"torchx.utils.echo", "torchx.dist.ddp", "one", "utils.echo"}
    assert get_component("torchx.utils.echo").fn is get_component("one").fn is get_component("utils.echo").fn


def test_looking_for_a_component_of_torchx_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").write_text("print('mine')\n")
    (tmp_path / "run").write_text("a file named run\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["topcoat", "run", "train.py"])
    installed(monkeypatch, torchx="torchx.components")
    with pytest.raises(UnknownComponent):
        get_component("train.py")
    get_components()
    assert (tmp_path / "train.py").read_text() == "print('mine')\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "train.py"]


def test_the_program_of_a_package_is_not_run_to_find_components(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path(sys.path[-1]) / package / "__main__.py"
    program.write_text("raise SystemExit('the program has run')\n")
    installed(monkeypatch, mine=package)
    assert "mine.train" in get_components()


@pytest.mark.parametrize("text", ["import no_such_module_anywhere\n", "import sys\nsys.exit('usage: ...')\n"])
def test_a_submodule_that_cannot_be_loaded_is_skipped(
    package: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (Path(sys.path[-1]) / package / "script.py").write_text(text)
    installed(monkeypatch, mine=package)
    assert "mine.train" in get_components()
    assert "mypkg.script cannot be loaded" in caplog.text
