"""topcoat beside a real TorchX: it does not take its place, and takes its applications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import topcoat
from tests.components.peers import TorchX

_SOURCE = Path(topcoat.__file__).parents[1]

_PRELUDE = f"""
import json, sys
sys.path.insert(0, {str(_SOURCE)!r})
import topcoat
import torchx
from topcoat.runner import get_runner
def shown(role):
    return [role.name, role.image, role.entrypoint, role.args, role.num_replicas, role.retry_policy.value]
def answer(app):
    with get_runner("s") as runner:
        info = runner.dryrun(app, "local_cwd")
    classes = {{f'{{type(value).__module__}}.{{type(value).__name__}}' for value in [info.app, *info.app.roles]}}
    print(json.dumps([info.app.name, [shown(role) for role in info.app.roles], sorted(classes)]))
"""

_COMPONENT = """
from torchx.specs import AppDef, Resource, Role, RetryPolicy, macros

def train(lr: float, nodes: int = 2) -> AppDef:
    role = Role(
        "trainer", "repo/app:1", entrypoint="python", args=["train.py", str(lr), macros.replica_id],
        num_replicas=nodes, retry_policy=RetryPolicy.REPLICA, resource=Resource(cpu=1, gpu=0, memMB=512),
    )
    return AppDef("train", [role])
"""

_EXPECTED = [
    "train",
    [["trainer", "repo/app:1", "python", ["train.py", "0.5", "${replica_id}"], 3, "REPLICA"]],
    ["topcoat.specs.app.AppDef", "topcoat.specs.app.Role"],
]


def _ask(torchx: TorchX, program: str, directory: Path) -> Any:
    (directory / "jobs.py").write_text(_COMPONENT)
    return torchx.ask(_PRELUDE + program, None, directory)


def test_the_alias_is_refused_where_torchx_is_installed(any_torchx: TorchX, tmp_path: Path) -> None:
    program = """
from topcoat.errors import TorchXInstalled
try:
    topcoat.install_as_torchx()
except TorchXInstalled as error:
    import torchx.specs
    print(json.dumps([str(error), torchx.specs.Role.__module__]))
"""
    message, module = _ask(any_torchx, program, tmp_path)
    assert message == "TorchX is installed, and topcoat does not replace it"
    assert module == "torchx.specs.api"


def test_an_appdef_of_torchx_is_accepted(any_torchx: TorchX, tmp_path: Path) -> None:
    assert _ask(any_torchx, "import jobs\nanswer(jobs.train(0.5, 3))\n", tmp_path) == _EXPECTED


def test_a_component_file_that_imports_torchx_gets_the_installed_torchx(any_torchx: TorchX, tmp_path: Path) -> None:
    program = """
from topcoat.components.finder import get_component
from topcoat.specs import materialize_appdef
answer(materialize_appdef(get_component("jobs.py:train").fn, ["--lr", "0.5", "--nodes", "3"]))
assert sys.modules["jobs"].Role.__module__ == "torchx.specs.api"
"""
    assert _ask(any_torchx, program, tmp_path) == _EXPECTED


def test_a_component_of_torchx_is_accepted(any_torchx: TorchX, tmp_path: Path) -> None:
    program = "from torchx.components.utils import echo\nanswer(echo(msg='hi', image='busybox', num_replicas=2))\n"
    name, roles, kinds = _ask(any_torchx, program, tmp_path)
    assert name == "echo"
    assert roles == [["echo", "busybox", "echo", ["hi"], 2, "APPLICATION"]]
    assert kinds == _EXPECTED[2]
