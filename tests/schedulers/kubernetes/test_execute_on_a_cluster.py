"""Commands and files of a replica on a real cluster."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.schedulers.kubernetes.conftest import Jobs, wait
from topcoat.errors import SchedulerError, UsageError
from topcoat.schedulers.api import Scheduler
from topcoat.specs import AppState


@pytest.fixture
def app_id(on_cluster: Jobs) -> str:
    """A job that runs, with a directory of files."""
    handle = on_cluster.submit(
        on_cluster.role(
            "mkdir -p /data/d; echo text >/data/d/f; ln -s f /data/d/l; echo ready; trap exit TERM; sleep 600 & wait"
        )
    )
    on_cluster.wait(handle, AppState.RUNNING)
    wait(lambda: on_cluster.log_has(handle, "ready"))
    return handle.rpartition("/")[2]


@pytest.fixture
def scheduler(on_cluster: Jobs) -> Scheduler[Any]:
    return on_cluster.runner._scheduler("kubernetes")


def test_a_command_runs_in_a_replica(
    scheduler: Scheduler[Any],
    app_id: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "input").write_text("from stdin\n")
    with (tmp_path / "input").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        code = scheduler.execute(app_id, "trainer", 0, ["sh", "-c", "cat; echo to stderr >&2; exit 3"])
    assert code == 3
    assert capfd.readouterr() == ("from stdin\n", "to stderr\n")
    with pytest.raises(SchedulerError, match="executable file not found"):
        scheduler.execute(app_id, "trainer", 0, ["absent"])
    with pytest.raises(UsageError, match="no replica trainer/1"):
        scheduler.execute(app_id, "trainer", 1, ["true"])


def test_files_are_copied_out_and_in(scheduler: Scheduler[Any], app_id: str, tmp_path: Path) -> None:
    scheduler.copy_from(app_id, "trainer", 0, "/data/d", tmp_path / "d")
    assert (tmp_path / "d" / "f").read_text() == "text\n"
    assert os.readlink(tmp_path / "d" / "l") == "f"
    content = os.urandom(5_000_000)
    (tmp_path / "large").write_bytes(content)
    scheduler.copy_to(app_id, "trainer", 0, tmp_path / "large", "/data/copy")
    scheduler.copy_to(app_id, "trainer", 0, tmp_path / "large", "/data")
    scheduler.copy_from(app_id, "trainer", 0, "/data/copy", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    with pytest.raises(SchedulerError, match=r"/data/absent of trainer/0: tar: .*No such file"):
        scheduler.copy_from(app_id, "trainer", 0, "/data/absent", tmp_path / "x")
    with pytest.raises(SchedulerError, match=r"/absent/x of trainer/0: tar: .*No such file"):
        scheduler.copy_to(app_id, "trainer", 0, tmp_path / "large", "/absent/x")
    assert sorted(os.listdir(tmp_path)) == ["back", "d", "large"]


def test_a_replica_that_has_ended_runs_no_command(on_cluster: Jobs, scheduler: Scheduler) -> None:
    handle = on_cluster.submit(on_cluster.role("true"))
    on_cluster.wait(handle)
    with pytest.raises(SchedulerError, match="trainer/0 does not run: Succeeded"):
        scheduler.execute(handle.rpartition("/")[2], "trainer", 0, ["true"])


def test_a_terminal_is_attached_to_the_process_of_a_replica(on_cluster: Jobs) -> None:
    role = on_cluster.role("")
    # The size of the terminal comes a moment after the connection.
    size = 'until [ "$$(stty size)" = "30 100" ]; do sleep 0.1; done; stty size'
    role.entrypoint, role.args = "sh", ["-c", f"printf 'name? '; read name; echo hello $$name; tty; {size}"]
    overlay = {"spec": {"__join__:containers:name": [{"name": "main", "stdin": True, "tty": True}]}}
    handle = on_cluster.submit(role, pod_overlay=json.dumps(overlay))
    on_cluster.wait(handle, AppState.RUNNING)
    program = (
        "from topcoat.runner import Runner\n"
        f"Runner('topcoat')._scheduler('kubernetes').attach({handle.rpartition('/')[2]!r}, 'trainer', 0)\n"
    )
    terminal = pexpect.spawn(sys.executable, ["-c", program], dimensions=(30, 100), timeout=60, encoding="utf-8")
    # What was printed before comes from the log, not from here.
    time.sleep(1)
    terminal.sendline("topcoat")
    terminal.expect("hello topcoat\r\n/dev/pts/0\r\n30 100\r\n")
    terminal.expect(pexpect.EOF)
    assert on_cluster.wait(handle).state is AppState.SUCCEEDED
