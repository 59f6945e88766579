"""A fresh virtual environment with the wheels of topcoat and of a package that adds to it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PLUGIN = Path(__file__).parent / "plugin"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an environment with both wheels; the dependencies are those of this test run."""
    home = tmp_path_factory.mktemp("entry-points")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = home / "wheels"
    offline = ["--no-index", "--no-deps"]
    _call(*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, _ROOT, _PLUGIN)
    _call(sys.executable, "-m", "venv", "--without-pip", home / "venv")
    python = home / "venv/bin/python"
    _call(*pip, "--python", python, "install", *offline, *wheels.glob("*.whl"))
    # A path file's directory is searched, but its own path files, such as those of editable installs, are not read.
    (_site_packages(home / "venv") / "dependencies.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return home / "venv"


def _site_packages(venv: Path) -> Path:
    (found,) = (venv / "lib").glob("python3*/site-packages")
    return found


def _call(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def run(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a program of the environment in an empty directory; its exit code is in what is returned."""
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def call(program: str, *args: str) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin" / program), *args]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)

    return call


@pytest.fixture
def python(run: Run) -> Callable[[str], str]:
    """Run code and return what it prints; it may warn of nothing."""

    def call(code: str) -> str:
        done = run("python", "-W", "error", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call
