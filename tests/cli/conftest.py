from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.fake_bases import add_base
from topcoat.cli.main import main
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.process import signal_group
from topcoat.specs import is_terminal
from topcoat.testing.registry import FakeRegistry


class Done(NamedTuple):
    """What came of a command line."""

    code: int
    out: str
    err: str

    @property
    def logs(self) -> list[str]:
        """The lines on stderr that are not topcoat's own."""
        return [line for line in self.err.splitlines() if not line.startswith(("topcoat: ", "  hint: "))]

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> tuple[str, str]:
        """Message and hint of the error at the end of stderr, after what goes of the workspace."""
        err = re.sub(r"\Atopcoat: \S+: \d+ files?, .*\n", "", self.err)
        first, _, second = err.partition("\n  hint: ")
        assert first.startswith("topcoat: error: "), self.err
        assert "Traceback" not in self.err
        return first.removeprefix("topcoat: error: ").rstrip("\n"), second.rstrip("\n")


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process."""

    def run(*words: str) -> Done:
        capsys.readouterr()
        code = main(words)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def topcoat() -> Cli:
    """Run a command line in a process of its own."""

    def run(*words: str, **options: Any) -> Done:
        command = [sys.executable, "-m", "topcoat", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, **{"env": environment(), **options}
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a person's process, not one in CI, that finds this topcoat."""
    import topcoat as package

    source = str(Path(package.__file__).parent.parent)
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    return {**inherited, "PYTHONPATH": source, **extra}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small workspace with an ignore file, which is the current directory."""
    directory = tmp_path / "ws"
    (directory / "pkg").mkdir(parents=True)
    (directory / "train.py").write_text("print('trained')\n")
    (directory / "pkg" / "__init__.py").write_text("")
    (directory / "notes.txt").write_text("left out\n")
    (directory / ".torchxignore").write_text("notes.txt\n")
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake_registry() -> Iterator[FakeRegistry]:
    """A registry in this process that has the image ``base:1``."""
    with FakeRegistry() as registry:
        add_base(registry)
        yield registry


@pytest.fixture(autouse=True)
def no_job_left(home: Path) -> Iterator[None]:
    """End what a test has started and not ended."""
    yield
    if not (home / ".local" / "state").is_dir():
        return
    for job in local_jobs.load_all():
        if not is_terminal(job.state):
            local_jobs.cancel(job)
            for replica in job.status["replicas"]:
                if replica["pid"]:
                    signal_group(replica["pid"], signal.SIGKILL)
