"""The clock of the machine is set back or forth between commands, or runs differently on two machines."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.faults.forked import run
from tests.faults.served import code_of, served_registry

SEED = int(os.environ.get("TOPCOAT_CLOCK_SEED", "1"))
JUMPS = int(os.environ.get("TOPCOAT_CLOCK_JUMPS", "12"))
YEAR_S = 365 * 86400


def test_after_any_jump_of_the_clock_the_image_is_what_the_workspace_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = random.Random(SEED)
    workspace = tmp_path / "ws"
    workspace.mkdir()
    now, monotonic = time.time, time.monotonic
    offset = 0.0
    monkeypatch.setattr(time, "time", lambda: now() + offset)
    monkeypatch.setattr(time, "time_ns", lambda: int((now() + offset) * 1e9))
    with served_registry() as host:
        for _ in range(JUMPS):
            offset = generator.choice((0, -1, 1)) * generator.choice((0.01, 5, 3600, 86400, 5 * YEAR_S))
            path = workspace / f"file{generator.randrange(4)}.py"
            # Of one size, so that only the content tells it from the one before.
            path.write_bytes(generator.randbytes(1000))
            if generator.random() < 0.5:
                os.utime(path, (now() + offset, now() + offset))
            image = ["--image", f"{host}/base:1", "--image-repo", f"{host}/app"]
            ended = run(["build", *image, "--workspace", str(workspace)], tmp_path / "output")
            assert ended.code == 0, (offset, ended.output)
            digest = next(line for line in ended.output.splitlines() if "@" in line).rpartition("@")[2]
            assert code_of(host, "app", digest) == {path.name: path.read_bytes() for path in workspace.iterdir()}
    assert monotonic() > 0


@pytest.mark.parametrize("offset", [-YEAR_S, -3600, 3600, YEAR_S, 8000 * YEAR_S])
def test_a_job_of_this_machine_does_not_depend_on_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: float
) -> None:
    monkeypatch.chdir(tmp_path)
    started = run(["run", "-s", "local_cwd", "--detach", "--", "sleep", "60"], tmp_path / "output")
    assert started.code == 0, started.output
    handle = started.output.split()[-1]
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + offset)
    assert "RUNNING" in run(["list", "-s", "local_cwd"], tmp_path / "output").output
    assert run(["cancel", handle], tmp_path / "output").code == 0
    assert run(["delete", "--force", handle], tmp_path / "output").code == 0
    assert "sleep" not in run(["list", "-s", "local_cwd"], tmp_path / "output").output
