from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from tests.cli.conftest import Cli, environment
from tests.support.signals import default_signals
from topcoat.cli.wait import failure, wait_for
from topcoat.errors import AppFailed, SchedulerError, UnknownApp
from topcoat.runner import get_runner
from topcoat.schedulers.responses import ReplicaTimes
from topcoat.specs import AppState, AppStatus


def _start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "topcoat", "run", *words]
    pipe = subprocess.PIPE
    with default_signals():
        return subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def _until(stream: IO[str] | None, text: str) -> list[str]:
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} is not in {lines}")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
@pytest.mark.parametrize("replicas", ["1", "2"])
@pytest.mark.usefixtures("workspace")
def test_a_signal_cancels_a_local_job_that_is_waited_for(number: int, code: int, replicas: str) -> None:
    process = _start("--num-replicas", replicas, "--", "sh", "-c", "echo started; exec sleep 300")
    with process:
        _until(process.stderr, "started")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    handle = out.strip()
    assert process.returncode == code
    assert f"topcoat: cancelling {handle} (it has 10 s to end by itself)" in err.splitlines()
    status = get_runner().status(handle)
    assert status is not None
    assert status.state is AppState.CANCELLED


@pytest.mark.usefixtures("workspace")
def test_a_detached_job_goes_on_when_the_command_has_ended(cli: Cli) -> None:
    done = cli("run", "--detach", "--", "sleep", "300")
    assert done.code == 0
    handle = done.out.strip()
    status = get_runner().status(handle)
    assert status is not None
    assert status.state is AppState.RUNNING
    get_runner().cancel(handle)
    ended = get_runner().wait(handle, 0.1)
    assert ended is not None
    assert ended.state is AppState.CANCELLED


def test_a_failure_names_the_replica_the_reason_and_the_logs(workspace: Path, cli: Cli) -> None:
    done = cli("run", "--num-replicas", "2", "--name", "job", "--", "sh", "-c", "exit $((3 * TOPCOAT_REPLICA_ID))")
    assert done.code == 1
    handle = done.out.strip()
    message, _, hint = done.err.partition("topcoat: error: ")[2].partition("\n  hint: ")
    assert message == f"{handle}: the job did not succeed: FAILED: job/1 ended with exit code 3"
    command, _, logs = hint.strip().partition("; its logs are in ")
    assert command == f"topcoat log {handle}"
    assert sorted(path.name for path in Path(logs).iterdir()) == ["job"]


class _Interrupted:
    """A runner whose job goes on until somebody presses ^C, and then until it is asked for *polls* times."""

    def __init__(self, polls: int = 0) -> None:
        self.polls = polls
        self.cancelled: list[str] = []

    def wait(self, handle: str, wait_interval: float) -> AppStatus:
        raise KeyboardInterrupt

    def cancel(self, handle: str) -> None:
        self.cancelled.append(handle)

    def status(self, handle: str) -> AppStatus | None:
        self.polls -= 1
        if self.polls == 1:
            raise KeyboardInterrupt
        return AppStatus(AppState.RUNNING) if self.polls > 0 else None

    def outputs(self, handle: str) -> None:
        pass


def test_a_job_elsewhere_goes_on_when_waiting_is_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    runner: Any = _Interrupted()
    with pytest.raises(KeyboardInterrupt):
        wait_for(runner, "x:///a", logs=False, cancel=False)
    assert runner.cancelled == []
    assert capsys.readouterr() == ("", "topcoat: x:///a continues to run; end it with: topcoat cancel x:///a\n")


@pytest.mark.parametrize("polls", [0, 3])
def test_a_second_interrupt_does_not_wait_for_the_end(polls: int) -> None:
    runner: Any = _Interrupted(polls)
    with pytest.raises(KeyboardInterrupt):
        wait_for(runner, "x:///a", logs=False, cancel=True)
    assert runner.cancelled == ["x:///a"]
    assert runner.polls == (1 if polls else -1)


def test_a_job_has_succeeded_although_its_files_cannot_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    class Slow:
        def wait(self, handle: str, wait_interval: float) -> AppStatus:
            return AppStatus(AppState.SUCCEEDED)

        def replica_times(self, handle: str) -> list[ReplicaTimes]:
            return []

        def outputs(self, handle: str) -> None:
            raise SchedulerError("no response within 30 s")

    runner: Any = Slow()
    assert wait_for(runner, "x:///a", logs=False, cancel=False).state is AppState.SUCCEEDED
    assert "which files it wrote is not known: no response within 30 s" in capsys.readouterr().err


def test_a_job_that_vanishes_is_an_error() -> None:
    class Gone:
        def wait(self, handle: str, wait_interval: float) -> None:
            return None

    runner: Any = Gone()
    with pytest.raises(UnknownApp):
        wait_for(runner, "x:///a", logs=False, cancel=True)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        (None, "topcoat log x:///a"),
        ("file:///a%20b", "topcoat log x:///a; its logs are in /a b"),
        ("https://example.com/a", "topcoat log x:///a, or see https://example.com/a"),
    ],
)
def test_the_hint_of_a_failure_leads_to_the_logs(url: str | None, hint: str) -> None:
    status: Any = AppStatus(AppState.CANCELLED, msg="by hand", ui_url=url)
    error = failure("x:///a", status)
    assert isinstance(error, AppFailed)
    assert (error.message, error.hint) == ("x:///a: the job did not succeed: CANCELLED: by hand", hint)
    assert error.status is status
