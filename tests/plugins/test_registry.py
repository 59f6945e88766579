"""Packages in a directory on the path of a new process: what one process has found stays found."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

SCHEDULER = """
from torchx.plugins import register
from torchx.schedulers import Scheduler
from tests.schedulers.fake import FakeScheduler

@register.scheduler()
def fancy(session_name: str, **kwargs: object) -> Scheduler:
    return FakeScheduler(session_name)
"""
RESOURCES = """
from torchx.plugins import powers_of_two_gpus, register, WHOLE
from torchx.specs import Resource

@register.named_resource(aliases=["big"], fractionals=powers_of_two_gpus)
def gpu_x(fractional: float = WHOLE) -> Resource:
    return Resource(cpu=int(64 * fractional), gpu=int(8 * fractional), memMB=int(488_000 * fractional))

@register.named_resource()
def cpu_x32() -> Resource:
    return Resource(cpu=32, gpu=0, memMB=131072)
"""
COMPONENTS = """
from torchx import specs

def trainer(name: str = "t") -> specs.AppDef:
    return specs.AppDef(name, [specs.Role("r", "i", entrypoint="e")])
"""


def write(site: Path, name: str, text: str) -> None:
    path = site / "torchx_plugins" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(site: Path, code: str, **env: str) -> Any:
    """Return the YAML that *code* prints."""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{site}:{root}:{root}/src", "HOME": str(site), **env},
    )
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def test_a_scheduler_of_a_namespace_package_is_found(tmp_path: Path) -> None:
    write(tmp_path, "schedulers/mine.py", SCHEDULER)
    code = """
        from topcoat.schedulers import get_scheduler_factories
        factories = get_scheduler_factories(skip_defaults=True)
        print({name: factory("s").session_name for name, factory in factories.items()})
    """
    assert run(tmp_path, code) == {"fancy": "s"}
    assert run(tmp_path, code, TORCHX_PLUGINS_SOURCE="2") == {}


def test_resources_with_aliases_and_fractions_are_found(tmp_path: Path) -> None:
    write(tmp_path, "named_resources/cluster/deep.py", RESOURCES)
    code = """
        from topcoat.specs import resource
        for name in ("gpu_x", "big", "gpu_x_8", "GPU_X_2", "cpu_x32"):
            found = resource(h=name)
            print(f"{name}: [{found.cpu}, {found.gpu}, {found.get_resource_name()}, {found.is_fractional()}]")
    """
    assert run(tmp_path, code) == {
        "gpu_x": [64, 8, "gpu_x", False],
        "big": [64, 8, "gpu_x", False],
        "gpu_x_8": [64, 8, "gpu_x_8", False],
        "GPU_X_2": [16, 2, "gpu_x_2", True],
        "cpu_x32": [32, 0, "cpu_x32", False],
    }


def test_a_module_of_resources_is_named_by_torchxs_variable(tmp_path: Path) -> None:
    text = "from topcoat.specs import Resource\nNAMED_RESOURCES = {'mine': lambda: Resource(3, 0, 5)}\n"
    (tmp_path / "my_resources.py").write_text(text)
    code = "from topcoat.specs import resource\nprint(resource(h='mine').cpu)"
    assert run(tmp_path, code, TORCHX_CUSTOM_NAMED_RESOURCES="my_resources") == 3
    code = """
        from topcoat.specs import resource
        try:
            resource(h="mine")
        except KeyError as error:
            print(repr(str(error)))
    """
    text = run(tmp_path, code, TORCHX_CUSTOM_NAMED_RESOURCES="missing_module")
    assert "TORCHX_CUSTOM_NAMED_RESOURCES=missing_module cannot be loaded: ModuleNotFoundError" in text


def test_components_of_a_namespace_package_are_found(tmp_path: Path) -> None:
    write(tmp_path, "components/team.py", COMPONENTS)
    code = """
        from topcoat.components.finder import get_component, get_components
        print([name for name in get_components() if "train" in name])
    """
    assert run(tmp_path, code) == ["team.trainer"]


def test_what_cannot_be_used_is_reported_and_the_rest_works(tmp_path: Path) -> None:
    write(tmp_path, "named_resources/good.py", RESOURCES)
    write(tmp_path, "named_resources/broken.py", "import missing_module\n")
    write(tmp_path, "named_resources/wrong.py", SCHEDULER)
    write(tmp_path, "named_resources/zz_again.py", RESOURCES)
    write(tmp_path, "named_resources/_private.py", "1 / 0\n")
    report = run(tmp_path, "from topcoat import plugins\nprint(plugins.registry())")
    names = {item["name"] for item in report["named_resource"]}
    assert names == {"gpu_x", "big", "gpu_x_8", "gpu_x_4", "gpu_x_2", "gpu_x_1", "cpu_x32"}
    errors = {error["module"].rpartition(".")[2]: error["error"] for error in report["errors"]}
    assert set(errors) == {"broken", "wrong", "zz_again"}
    assert "ModuleNotFoundError" in errors["broken"]
    assert "'fancy' is registered as torchx.schedulers" in errors["wrong"]
    assert "registered a second time" in errors["zz_again"]


def test_an_invalid_source_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from topcoat.errors import UsageError
    from topcoat.plugins import registry

    registry.cache_clear()
    monkeypatch.setenv("TORCHX_PLUGINS_SOURCE", "both")
    with pytest.raises(UsageError, match="invalid TORCHX_PLUGINS_SOURCE 'both'"):
        registry()
