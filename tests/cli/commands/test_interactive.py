"""``topcoat run -i`` and ``run --watch`` in a real terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.conftest import Cli, environment
from tests.components.daemons import Docker
from tests.components.images import Image

PROGRAM = """
def double(number):
    result = number * 2
    breakpoint()
    return result

name = input("name? ")
print("hello", name, double(21))
"""


def spawn(*words: str) -> Any:
    return pexpect.spawn(
        sys.executable,
        ["-m", "topcoat", *words],
        env={**environment(), "NO_COLOR": "1", "PYTHON_COLORS": "0", "COLUMNS": "70", "LINES": "20"},
        encoding="utf-8",
        timeout=60,
        dimensions=(30, 100),
    )


@pytest.fixture
def program(workspace: Path) -> str:
    (workspace / "ask.py").write_text(PROGRAM)
    return "ask.py"


def debug(terminal: Any) -> None:
    """Answer the question, step through the debugger, and see the end."""
    terminal.expect_exact("name? ")
    terminal.sendline("Ada")
    terminal.expect_exact("(Pdb)")
    terminal.sendline("p result")
    terminal.expect_exact("42")
    terminal.expect_exact("(Pdb)")
    terminal.sendline("continue")
    terminal.expect_exact("hello Ada 42")


@pytest.mark.parametrize("scheduler", ["local", "local_cwd"])
def test_a_debugger_works_in_a_local_job(program: str, topcoat: Cli, scheduler: str) -> None:
    terminal = spawn("run", "-i", "-s", scheduler, "--name", "ask", "--", sys.executable, program)
    debug(terminal)
    terminal.expect("SUCCEEDED after .*exit code 0")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert "hello Ada 42" in topcoat("log", "ask").out


def test_the_terminal_has_the_size_of_the_users_and_the_exit_code_is_the_jobs(workspace: Path) -> None:
    terminal = spawn("run", "-i", "--", "sh", "-c", "stty size; exit 3")
    terminal.expect_exact("30 100")
    terminal.expect_exact("exit code 3")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1


def test_interrupts_reach_the_job_and_not_the_command(workspace: Path) -> None:
    terminal = spawn(
        "run", "-i", "--", "sh", "-c", "trap 'echo caught; exit 0' INT; echo ready; while :; do sleep 0.1; done"
    )
    terminal.expect_exact("ready")
    terminal.sendcontrol("c")
    terminal.expect_exact("caught")
    terminal.expect_exact("SUCCEEDED")
    terminal.expect(pexpect.EOF)


def test_several_replicas_are_refused(cli: Cli, workspace: Path) -> None:
    done = cli("run", "-i", "--num-replicas", "2", "--", "true")
    assert done.code == 2
    assert "run -i needs a job with one replica, and this one has 2" in done.err
    assert cli("list", "--json").json["jobs"] == []


@pytest.mark.parametrize("flag", ["--detach", "--json", "--dryrun", "--log", "--watch"])
def test_flags_that_make_no_sense_together_are_refused(cli: Cli, workspace: Path, flag: str) -> None:
    done = cli("run", "-i", flag, "--", "true")
    assert (done.code, "cannot be combined" in done.err) == (2, True)


def test_a_debugger_works_in_a_container(
    workspace: Path, docker_today: Docker, python_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_today.use(monkeypatch)
    python_image.load(docker_today, "cli-i:1", config={"WorkingDir": "/app"})
    (workspace / "ask.py").write_text(PROGRAM)
    terminal = spawn("run", "-i", "-s", "local_docker", "--image", "cli-i:1", "--", "python3", "ask.py")
    debug(terminal)
    terminal.expect_exact("SUCCEEDED")
    terminal.expect(pexpect.EOF)


def save_three_times(workspace: Path, terminal: Any, text: str) -> None:
    """Save a script three times, and see each round; then stop."""
    script = workspace / "train.py"
    terminal.expect_exact("round 1")
    for number in (2, 3, 4):
        script.touch()
        (workspace / "notes.txt").write_text(f"ignored {number}")
        script.write_text(text.format(number))
        terminal.expect_exact("changed: train.py; starting again")
        terminal.expect_exact(f"round {number}")
    terminal.sendcontrol("c")
    terminal.expect_exact("cancelling")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130


def test_watch_starts_the_job_again_after_each_save_that_changes_what_ships(workspace: Path) -> None:
    text = "import time\nprint('round', {}, flush=True)\ntime.sleep(60)\n"
    (workspace / "train.py").write_text(text.format(1))
    save_three_times(workspace, spawn("run", "--watch", "--", sys.executable, "train.py"), text)


def test_watch_starts_a_container_again_after_each_save(
    workspace: Path, topcoat: Cli, docker_today: Docker, busybox_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_today.use(monkeypatch)
    busybox_image.load(docker_today, "cli-watch:1", config={"WorkingDir": "/app"})
    text = "echo round {}; sleep 60\n"
    (workspace / "train.py").write_text(text.format(1))
    words = ("run", "--watch", "-s", "local_docker", "--image", "cli-watch:1", "--", "sh", "train.py")
    save_three_times(workspace, spawn(*words), text)
    states = [job["state"] for job in topcoat("list", "--json", "-s", "local_docker").json["jobs"]]
    assert states[:4] == ["CANCELLED"] * 4


def test_watch_refuses_a_scheduler_without_snapshots(cli: Cli, workspace: Path) -> None:
    done = cli("run", "--watch", "-s", "local_cwd", "--", "true")
    assert (done.code, done.error[0]) == (2, "--watch works with local and local_docker, not with local_cwd")
