"""Real TorchX beside topcoat, each version in a virtual environment of its own that is kept in the cache."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.components import host


class TorchX(NamedTuple):
    """An installed TorchX.

    Attributes:
        name: of the version: ``0.7.0`` or ``newest``.
        bin: directory with its ``python`` and ``torchx``.
    """

    name: str
    bin: Path

    def run(self, *args: str | Path, cwd: Path) -> str:
        """Run its command line in *cwd* and return what it prints."""
        return host.run_tool([self.bin / "torchx", *args], env=self._env(cwd), cwd=cwd)

    def ask(self, program: str, question: object, cwd: Path) -> Any:
        """Run *program* in its Python with *question* as JSON on stdin, and return the JSON that it prints."""
        printed = host.run_tool(
            [self.bin / "python", "-c", program], env=self._env(cwd), cwd=cwd, stdin=json.dumps(question).encode()
        )
        return json.loads(printed)

    def _env(self, home: Path) -> dict[str, str]:
        return {**host.environment(self.bin), "HOME": str(home)}


def torchx(name: str, requirement: str) -> TorchX:
    """Return TorchX as pip installs *requirement*; made once for each Python, skipped where pip cannot."""
    home = host.CACHE / f"torchx-{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{home}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            try:
                _install(home, requirement)
            except (host.ComponentError, subprocess.TimeoutExpired) as error:
                shutil.rmtree(home, ignore_errors=True)
                host.unavailable(f"TorchX ({requirement})", str(error))
    return TorchX(name, home / "bin")


def _install(home: Path, requirement: str) -> None:
    shutil.rmtree(home, ignore_errors=True)
    host.run_tool([sys.executable, "-m", "venv", home])
    pip = [home / "bin/python", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    host.run_tool([*pip, "install", "--quiet", requirement], timeout=600)
    (home / "complete").touch()
