from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.components import host
from tests.components.serve import serve
from tests.support.waiting import eventually


def test_a_missing_component_skips_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "POLICY", "auto")
    with pytest.raises(pytest.skip.Exception, match="slurm cannot be had: no no-such-program"):
        host.tool("no-such-program", "slurm")


def test_a_missing_component_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "POLICY", "require")
    with pytest.raises(pytest.fail.Exception, match="slurm cannot be had: no no-such-program"):
        host.tool("no-such-program", "slurm")


def test_an_engine_that_is_not_built_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "POLICY", "auto")
    monkeypatch.setattr(host, "_engines", lambda: {"moby": ("2", tmp_path / "absent")})
    with pytest.raises(pytest.skip.Exception, match="moby 2 cannot be had"):
        host.engine("moby")


def test_the_error_of_a_failed_tool_has_its_output(tmp_path: Path) -> None:
    script = "import sys; sys.stderr.write('no such thing'); sys.exit(7)"
    with pytest.raises(host.ComponentError, match=r"exit 7\nno such thing"):
        host.run_tool([sys.executable, "-c", script], cwd=tmp_path)


def test_a_server_that_ends_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-c", "print('port taken'); raise SystemExit(3)"]
    serving = serve(command, log=tmp_path / "log", env=os.environ, ready=lambda: False)
    with pytest.raises(host.ComponentError, match=r"ended with 3\n--- .*log\nport taken"), serving:
        pass


def test_a_server_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    command: list[str | Path] = [sys.executable, "-c", script]

    def ready() -> bool:
        eventually(lambda: pid.exists() and pid.read_text())
        return False

    serving = serve(command, log=tmp_path / "log", env=os.environ, ready=ready, timeout=0.5)
    with pytest.raises(host.ComponentError, match=r"not ready after 0\.5 s"), serving:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_server_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = (
        "import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    command: list[str | Path] = [sys.executable, "-c", script]
    with serve(command, log=tmp_path / "log", env=os.environ, ready=ready.exists, grace=0.2) as process:
        pass
    assert process.returncode == -9


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="/proc is not there")
def test_scratch_of_a_killed_run_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "scratch_root", lambda: tmp_path)
    dead, alive = tmp_path / "topcoat-tests-999999999-x", tmp_path / f"topcoat-tests-{os.getpid()}-x"
    for directory in (dead, alive):
        (directory / "data").mkdir(parents=True)

    made = host.make_scratch()

    assert sorted(tmp_path.iterdir()) == sorted([alive, made])
