"""Processes in sessions of their own end with the replica that has started them; those of others do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.schedulers.local.test_supervisor import end, load, replica, run, sh
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.process import start_mark
from topcoat.specs import AppState

Eventually = Callable[[Callable[[], bool]], None]

linux = pytest.mark.skipif(sys.platform != "linux", reason="child subreapers are Linux's")
pytestmark = linux

# Forks twice, so that its parent is gone, and waits in a session of its own.
DAEMON = """\
import os, signal, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
for descriptor in (0, 1, 2):
    os.close(descriptor)
time.sleep(60)
"""


def daemon(directory: Path, name: str) -> str:
    """Return a shell command that starts a daemon, which writes its number to the file *name*."""
    (directory / "daemon.py").write_text(DAEMON)
    path = f"{directory}/{name}"
    return f"{sys.executable} {directory}/daemon.py {path}; while ! [ -s {path} ]; do sleep 0.01; done"


def number(path: Path) -> int:
    return int(path.read_text())


def of(role: str, replica_id: int) -> dict[str, str]:
    return {"TOPCOAT_APP_ID": "job", "TOPCOAT_ROLE": role, "TOPCOAT_REPLICA_ID": str(replica_id)}


def test_a_daemon_ends_with_the_job_that_succeeds(tmp_path: Path) -> None:
    run(replica(tmp_path, *sh(daemon(tmp_path, "pid"))))
    assert end().state is AppState.SUCCEEDED
    assert start_mark(number(tmp_path / "pid")) is None


def test_a_daemon_ends_with_the_job_that_is_cancelled(tmp_path: Path, eventually: Eventually) -> None:
    run(replica(tmp_path, *sh(daemon(tmp_path, "pid") + "; sleep 60")))
    eventually((tmp_path / "pid").exists)
    local_jobs.cancel(load())
    assert end().state is AppState.CANCELLED
    assert start_mark(number(tmp_path / "pid")) is None


def test_the_children_of_a_daemon_end_too(tmp_path: Path) -> None:
    command = daemon(tmp_path, "pid")
    child = "if not os.fork():\n    os.setsid()\n    open('child', 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    (tmp_path / "daemon.py").write_text(DAEMON.replace("time.sleep(60)\n", child))
    run(replica(tmp_path, *sh(command + "; while ! [ -s child ]; do sleep 0.01; done")))
    assert end().state is AppState.SUCCEEDED
    assert start_mark(number(tmp_path / "child")) is None


def test_a_daemon_of_another_replica_goes_on_until_that_one_ends(tmp_path: Path, eventually: Eventually) -> None:
    wait = "; while ! [ -e go ]; do sleep 0.02; done"
    run(
        replica(tmp_path, *sh(daemon(tmp_path, "first")), env=of("w", 0)),
        replica(tmp_path, *sh(daemon(tmp_path, "second") + wait), number=1, env=of("w", 1)),
    )
    eventually((tmp_path / "second").exists)
    eventually(lambda: load().status["replicas"][0]["state"] == "SUCCEEDED")
    # A killed process may need a moment.
    eventually(lambda: start_mark(number(tmp_path / "first")) is None)
    assert start_mark(number(tmp_path / "second")) is not None
    (tmp_path / "go").touch()
    assert end().state is AppState.SUCCEEDED
    assert start_mark(number(tmp_path / "second")) is None


def test_orphans_that_have_ended_are_reaped_while_the_job_runs(tmp_path: Path, eventually: Eventually) -> None:
    run(replica(tmp_path, *sh("for i in 1 2 3 4 5; do sh -c 'true &'; done; touch done; sleep 60")))
    eventually((tmp_path / "done").exists)
    supervisor = load().status["pid"]

    def zombies() -> int:
        text = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
        return sum(start_mark(int(pid)) is None for pid in text.split())

    eventually(lambda: zombies() == 0)


def test_a_detached_job_that_a_job_starts_goes_on(tmp_path: Path, eventually: Eventually) -> None:
    code = (
        "from topcoat.schedulers.local import jobs\n"
        "from tests.schedulers.local.test_supervisor import replica\n"
        "from pathlib import Path\n"
        "jobs.start('inner', {'scheduler': 'local_cwd', 'retries': {'w': {'policy': 'REPLICA', 'max': 0}},"
        f" 'replicas': [replica(Path({str(tmp_path)!r}) / 'inner', 'sleep', '60', cwd='/')]}})\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **of("w", 0)}
    run(replica(tmp_path, sys.executable, "-c", code, env=environment))
    assert end().state is AppState.SUCCEEDED, (tmp_path / "w/0/stderr.log").read_text()
    inner = local_jobs.load("inner")
    assert inner is not None
    assert inner.state is AppState.RUNNING
    local_jobs.cancel(inner)
    eventually(lambda: start_mark(inner.status["pid"]) is None)


def test_what_a_killed_supervisor_leaves_is_ended_by_the_next_command(tmp_path: Path, eventually: Eventually) -> None:
    run(replica(tmp_path, *sh(daemon(tmp_path, "pid") + "; sleep 60"), env=of("w", 0)))
    eventually((tmp_path / "pid").exists)
    other = subprocess.Popen(["sleep", "60"], env={"TOPCOAT_APP_ID": "job2"})
    try:
        os.kill(load().status["pid"], signal.SIGKILL)
        eventually(lambda: load().state is AppState.FAILED)
        eventually(lambda: start_mark(number(tmp_path / "pid")) is None)
        assert start_mark(other.pid) is not None
    finally:
        other.kill()
        other.wait()
