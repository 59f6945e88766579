"""Output that is saved in the workspace, beside the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import environment

NOTICE = "no .torchxignore in"
SCRIPT = "import time\nfor i in range(5): print('line', i, flush=True); time.sleep(0.1)\n"


@pytest.mark.parametrize(
    "shell",
    [
        '"$@" > run.log 2>&1',
        '"$@" >> run.log 2>&1',
        '"$@" 2> run.log',
        '"$@" 2>&1 | tee run.log',
        'nohup "$@" > nohup.out 2>&1',
        'mkdir logs && "$@" > logs/run.log 2>&1',
    ],
)
def test_a_run_whose_output_is_saved_beside_the_code_succeeds(workspace: Path, shell: str) -> None:
    (workspace / ".torchxignore").unlink()
    (workspace / "train.py").write_text(SCRIPT)
    words = [sys.executable, "-m", "topcoat", "run", "--", "python", "train.py"]
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell, "bash", *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    log = next(workspace.glob("**/*.log"), workspace / "nohup.out").read_text()
    assert "line 4\n" in log
    assert log.count(NOTICE) == 1
    lines = [line for line in log.splitlines() if line.startswith("topcoat: ")]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("shell", ['"$@" > files.txt', '"$@" | tee files.txt', '"$@" 2>&1 | tee -a files.txt'])
def test_the_file_that_gets_the_list_is_not_in_the_list(workspace: Path, shell: str) -> None:
    if "tee" in shell and sys.platform != "linux":
        pytest.skip("only Linux tells which files another program has open")
    # tee may be the last to start.
    words = [
        "bash",
        "-c",
        'until [ -e files.txt ]; do sleep 0.01; done; exec "$@"',
        "bash",
        sys.executable,
        "-m",
        "topcoat",
        "ls",
    ]
    subprocess.run(["bash", "-c", shell, "bash", *words], env=environment(), stderr=subprocess.DEVNULL, check=True)
    lines = (workspace / "files.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("topcoat: ")] == [
        ".torchxignore",
        "pkg/",
        "pkg/__init__.py",
        "train.py",
    ]


def test_a_file_that_a_reader_of_the_output_writes_is_in_the_list(workspace: Path) -> None:
    """Only a program that reads the output as its stdin, such as tee, puts it into the files that it writes."""
    with (workspace / "data.bin").open("w") as file:
        words = [sys.executable, "-m", "topcoat", "ls"]
        listed = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True).stdout
        file.write("x")
    assert "data.bin" in listed.split()
