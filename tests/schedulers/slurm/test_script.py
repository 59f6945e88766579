"""The scripts of a job, most of them run here with programs in the place of Slurm's."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.components.slurm import Slurm
from tests.schedulers.slurm.conftest import log_of, shell
from topcoat.runner import Runner
from topcoat.schedulers.api import Stream
from topcoat.schedulers.slurm.script import ReplicaCommand, RoleStep, batch_script, replica_script
from topcoat.specs import RetryPolicy

SHELLS = [("/bin/sh",), ("bash", "--posix")]
SCONTROL = """
[ "$1" != requeue ] || { echo requeue >> requeues; exit 1; }
"""
# A role's name says how it ends. The file lets several steps end together.
SRUN = """
for word; do
  case $word in
  waits) exec sleep 60 ;;
  ends*)
    while [ ! -e gate ]; do sleep 0.02; done
    exit ${word#ends} ;;
  esac
done
"""
SCANCEL = """
echo "$*$SCANCEL_USER" >> cancels
touch gate
"""
SQUEUE = """
[ -n "$SQUEUE_STATES$SQUEUE_PARTITION" ] || echo RUNNING
"""


def step(role: str = "r", *, restarts: int = 0, is_alone: bool = False) -> RoleStep:
    return RoleStep(role, "0", restarts, 0, [], None, ".", ".", is_alone=is_alone)


def environment(directory: Path, **variables: str) -> dict[str, str]:
    programs = directory / "programs"
    if not programs.exists():
        programs.mkdir()
        for name, text in (("scontrol", SCONTROL), ("srun", SRUN), ("squeue", SQUEUE), ("scancel", SCANCEL)):
            (programs / name).write_text(f"#!/bin/sh{text}")
            (programs / name).chmod(0o755)
    own = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}
    return {**own, "SLURM_JOB_NODELIST": "n1", **variables}


def start_batch(
    directory: Path,
    steps: Sequence[RoleStep],
    replacements: Mapping[str, str] = {},
    *,
    interactive: bool = False,
    **variables: str,
) -> subprocess.Popen[bytes]:
    text = batch_script(str(directory), {}, steps, interactive=interactive)
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    script = directory / "script.sh"
    script.write_text(text)
    return subprocess.Popen(["bash", script], env=environment(directory, **variables), start_new_session=True)


def start_replica(
    directory: Path,
    words: Sequence[str],
    arguments: Sequence[str],
    shell: Sequence[str] = SHELLS[0],
    env: Mapping[str, str] | None = None,
    exported: Mapping[str, str] | None = None,
    **options: int,
) -> subprocess.Popen[bytes]:
    command = ReplicaCommand("r-0", words, env or {}, str(directory))
    (directory / "replica.sh").write_text(replica_script([step()], [command]).replace("sleep 5", "sleep 1"))
    for name in ("logs", "exit"):
        (directory / name).mkdir(exist_ok=True)
    return subprocess.Popen(
        [*shell, directory / "replica.sh", *arguments],
        env=environment(directory, **(exported or {})),
        start_new_session=True,
        **options,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


_WORDS = (
    *("name", "role", "node", "files", "number", "mode", "inner", "started", "attempts", "restarts", "address"),
    *("code", "job", "waited", "steps", "signal"),
)


@pytest.mark.parametrize("shell", SHELLS)
def test_variables_of_the_submitting_shell_reach_the_replica(tmp_path: Path, shell: Sequence[str]) -> None:
    exported = {name: f"user's {name}" for name in _WORDS}
    words = ["sh", "-c", "env > found"]
    process = start_replica(tmp_path, words, ["task", "r", "0", "0", "0"], shell, exported=exported)
    assert process.wait(20) == 0
    found = dict(line.split("=", 1) for line in (tmp_path / "found").read_text().splitlines())
    assert {name: found[name] for name in _WORDS} == exported


@pytest.mark.parametrize("shell", SHELLS)
def test_names_that_no_shell_can_set_do_not_need_the_path_of_the_role(tmp_path: Path, shell: Sequence[str]) -> None:
    env = {"PATH": "/nonexistent", "x.y": "1", "UID": "77"}
    with (tmp_path / "found").open("wb") as found:
        process = start_replica(tmp_path, ["/usr/bin/env"], ["be", "r-0"], shell, env, stdout=found.fileno())
    assert process.wait(20) == 0
    assert {"x.y=1", "UID=77", "PATH=/nonexistent"} <= {*(tmp_path / "found").read_text().splitlines()}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_replica_that_is_being_ended_is_not_started_again(
    tmp_path: Path, shell: Sequence[str], number: signal.Signals
) -> None:
    words = ["sh", "-c", "echo start >> starts; exec sleep 60"]
    process = start_replica(tmp_path, words, ["task", "r", "0", "0", "3"], shell)
    wait_until((tmp_path / "starts").exists)
    os.killpg(process.pid, number)
    assert process.wait(20) == 128 + number
    assert (tmp_path / "starts").read_text() == "start\n"
    assert f" {128 + number} r-0" in (tmp_path / "exit" / "r-0").read_text()


def test_cancel_does_not_start_a_replica_again(runner: Runner, cluster: Slurm) -> None:
    app = shell("echo start; sleep 100", max_retries=3, retry_policy=RetryPolicy.REPLICA)
    handle = runner.run(app, "slurm")
    wait_until(lambda: log_of(runner, handle) != "")
    runner.cancel(handle)
    runner.wait(handle)
    assert log_of(runner, handle, streams=Stream.STDOUT) == "start\n"
    assert "it is restarted" not in log_of(runner, handle)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_signal_for_the_program_does_not_use_up_the_attempts(tmp_path: Path, shell: Sequence[str]) -> None:
    words = ["sh", "-c", "trap : USR1; echo start >> starts; [ $(wc -l < starts) = 2 ] || { sleep 1; exit 1; }"]
    process = start_replica(tmp_path, words, ["task", "r", "0", "0", "1"], shell)
    wait_until((tmp_path / "starts").exists)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGUSR1)
    assert process.wait(20) == 0


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["UID", "EUID", "PPID", "SHELLOPTS", "BASH_VERSINFO", "OPTIND", "SECONDS", "PLAIN"])
def test_a_variable_with_the_name_of_one_of_the_shell_reaches_the_program(
    tmp_path: Path, shell: Sequence[str], name: str
) -> None:
    process = start_replica(tmp_path, ["env"], ["be", "r-0"], shell, {name: "a value"}, stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=20)
    assert f"{name}=a value" in output.decode().splitlines()


def test_an_error_file_is_that_of_the_last_attempt(tmp_path: Path) -> None:
    words = ["sh", "-c", "[ -e tried ] || { touch tried; echo {} > exit/r-0.error; exit 1; }"]
    assert start_replica(tmp_path, words, ["task", "r", "0", "0", "1"]).wait(20) == 0
    assert not (tmp_path / "exit" / "r-0.error").exists()


def test_the_exit_code_of_a_step_that_fails_is_kept_when_another_ends_at_the_same_moment(tmp_path: Path) -> None:
    processes = []
    for number in range(10):
        directory = tmp_path / str(number)
        directory.mkdir()
        steps = [step("ends0", is_alone=True), step("ends7", is_alone=True)]
        processes.append(start_batch(directory, steps[:: 1 if number % 2 else -1]))
        wait_until((directory / "exit" / "environment").exists)
    for number in range(10):
        (tmp_path / str(number) / "gate").touch()
    assert [process.wait(20) for process in processes] == [7] * 10


def test_a_step_that_fails_ends_the_others(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    process = start_batch(tmp_path, [step("waits", is_alone=True), step("ends7", is_alone=True)])
    assert process.wait(20) == 7


def test_a_preemption_does_not_count_as_a_retry(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    codes = [start_batch(tmp_path, [step("ends3", restarts=2)], SLURM_RESTART_COUNT="5").wait(20) for _ in range(3)]
    assert codes == [3, 3, 3]
    assert (tmp_path / "requeues").read_text().count("requeue") == 2


def test_the_users_filters_of_squeue_do_not_prevent_a_retry(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    filters = {"SQUEUE_STATES": "PENDING", "SQUEUE_PARTITION": "other"}
    start_batch(tmp_path, [step("ends3", restarts=1)], **filters).wait(20)
    assert (tmp_path / "requeues").exists()


def test_a_term_reaches_the_replicas_and_does_not_kill_them(tmp_path: Path) -> None:
    after_the_traps = {"_code=0 _steps": "touch trapped; _code=0 _steps"}
    batch = start_batch(tmp_path, [step("ends5")], after_the_traps, SCANCEL_USER="somebody")
    wait_until((tmp_path / "trapped").exists)
    batch.send_signal(signal.SIGTERM)
    assert batch.wait(20) == 5
    assert (tmp_path / "cancels").read_text() == "-s TERM 7\n"


def test_steps_are_waited_for_without_the_wait_of_newer_shells(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    assert start_batch(tmp_path, [step("ends3"), step("waits")], {"[123].*|": "*) _wait='sleep 1' ;; x|"}).wait(20) == 3


def test_an_interactive_job_is_not_requeued(tmp_path: Path) -> None:
    assert start_batch(tmp_path, [step(restarts=3)], {"-lt 900": "-lt 0"}, interactive=True).wait(20) == 66
    assert not (tmp_path / "requeues").exists()


def test_a_terminal_waits_for_the_script_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "exit").mkdir()
    run = tmp_path / "exit" / "run"
    run.write_text("7 0 1\n")
    process = start_replica(tmp_path, ["touch", "started"], ["terminal", "r", "=0", "0", "0", "n1", "1"])
    time.sleep(0.5)
    assert not (tmp_path / "exit" / "terminal").exists()
    run.write_text("7 1 1\n")
    assert process.wait(20) == 0
    assert (tmp_path / "exit" / "terminal").read_text() == "0\n"


def test_a_second_terminal_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "exit").mkdir()
    (tmp_path / "exit" / "run").write_text("7 0 1\n")
    words = ["terminal", "r", "=0", "0", "0", "n1", "0"]
    first = start_replica(tmp_path, ["sh", "-c", "touch started; until [ -e go ]; do sleep 0.1; done"], words)
    wait_until((tmp_path / "started").exists)
    assert start_replica(tmp_path, ["touch", "second"], words).wait(20) == 66
    (tmp_path / "go").touch()
    assert first.wait(20) == 0
    assert not (tmp_path / "second").exists()


def test_an_interactive_job_ends_when_the_step_of_its_terminal_is_killed(tmp_path: Path) -> None:
    batch = start_batch(tmp_path, [step()], {"-lt 60": "-lt 3"}, interactive=True)
    wait_until((tmp_path / "exit" / "run").exists)
    terminal = start_replica(tmp_path, ["sleep", "60"], ["terminal", "r", "=0", "0", "0", "n1", "0"])
    time.sleep(5)
    assert batch.poll() is None
    os.killpg(terminal.pid, signal.SIGKILL)
    terminal.wait()
    assert batch.wait(20) == 66
    failure = (tmp_path / "exit" / "failure").read_text()
    assert failure.startswith("topcoat: the step of the terminal ended without an exit code on ")
    assert "nothing was run" not in failure
