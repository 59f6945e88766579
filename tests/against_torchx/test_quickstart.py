"""TorchX's quickstart as printed, with ``topcoat`` for ``torchx`` on the command line."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

APP = """import sys

print(f"Hello, {sys.argv[1]}!")
"""

RUN_COMPONENT = """from torchx.runner import get_runner

with get_runner() as runner:
    app_handle = runner.run_component(
        "utils.python",
        ["--script", "my_app.py", "your name"],
        scheduler="local_cwd",
    )
    # Wait for the job to complete and print its final status
    final_status = runner.wait(app_handle, wait_interval=1)
    print(final_status)
"""

RUN_APP = """import torchx.specs as specs
from torchx.runner import get_runner

app = specs.AppDef(
    name="hello",
    roles=[
        specs.Role(
            name="worker",
            entrypoint="python",
            # "image" is the base runtime environment. For local schedulers
            # it's a filesystem path; for container schedulers it's a Docker
            # image name (e.g. "my_image:latest").
            image="/tmp",
            args=["my_app.py", "your name"],
        )
    ],
)

with get_runner() as runner:
    app_handle = runner.run(app, scheduler="local_cwd")
"""

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "my_app.py").write_text(APP)
    return tmp_path


def _run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": f"{_ROOT}/src",
        "HOME": str(directory),
        "XDG_STATE_HOME": str(directory / "state"),
    }
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False)


def _topcoat(line: str, directory: Path) -> subprocess.CompletedProcess[str]:
    program, *words = shlex.split(line)
    assert program == "torchx"
    return _run([sys.executable, "-m", "topcoat", *words], directory)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("torchx --help", "usage"),
        ("torchx run --scheduler local_cwd utils.python --help", "--script"),
        ('torchx run --scheduler local_cwd utils.python --script my_app.py "your name"', "Hello, your name!"),
        ("torchx run --scheduler local_docker dist.ddp --help", "nodes"),
        ("torchx runopts", "local_cwd"),
    ],
)
def test_a_command_of_the_quickstart_runs(line: str, text: str, directory: Path) -> None:
    done = _topcoat(line, directory)
    assert (done.returncode, text in done.stdout + done.stderr) == (0, True), done


@pytest.mark.parametrize("code", [RUN_COMPONENT, RUN_APP], ids=["component", "app"])
def test_the_python_code_of_the_quickstart_runs(code: str, directory: Path) -> None:
    done = _run([sys.executable, "-c", f"import topcoat\ntopcoat.install_as_torchx()\n{code}"], directory)
    assert done.returncode == 0, done.stderr
    if "print(final_status)" in code:
        assert "SUCCEEDED (4)" in done.stdout


def test_the_distributed_job_of_the_quickstart_is_planned(directory: Path) -> None:
    line = "torchx run --scheduler local_docker --dryrun --json --workspace '' dist.ddp -j 2x2 --image i --script x.py"
    done = _topcoat(line, directory)
    assert done.returncode == 0, done.stderr
    (role,) = json.loads(done.stdout)["app"]["roles"]
    assert role["num_replicas"] == 2
    assert "--nnodes 2:2 --nproc_per_node 2" in role["args"][1] or "--nnodes 2 --nproc_per_node 2" in role["args"][1]
