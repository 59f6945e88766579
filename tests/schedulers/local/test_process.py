from __future__ import annotations

import os
import subprocess
import sys

import pytest

from topcoat.errors import MissingDependency, SchedulerError
from topcoat.schedulers.local.process import host_identity, run, signal_group, start_mark


def test_a_command_gives_its_output_and_exit_code() -> None:
    done = run(
        [sys.executable, "-c", "import sys; print(input()); print('e', file=sys.stderr); sys.exit(3)"], text="in\n"
    )
    assert done == (3, "in\n", "e\n")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingDependency, match="no-such-program") as caught:
        run(["no-such-program"])
    assert caught.value.hint


def test_a_command_that_hangs_is_ended_after_the_timeout() -> None:
    with pytest.raises(SchedulerError, match=r"did not end within 0\.2 s"):
        run(["sleep", "30"], timeout=0.2)


def test_a_process_keeps_its_mark_while_it_runs() -> None:
    assert start_mark(os.getpid()) is not None
    assert start_mark(os.getpid()) == start_mark(os.getpid())


def test_two_processes_started_apart_have_different_marks() -> None:
    assert start_mark(1) != start_mark(os.getpid())


def test_a_process_that_has_ended_has_no_mark_even_before_it_is_reaped() -> None:
    process = subprocess.Popen(["sleep", "30"])
    assert start_mark(process.pid) is not None
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_mark(process.pid) is None
    process.wait()
    assert start_mark(process.pid) is None


def test_a_group_that_is_gone_can_be_signalled() -> None:
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    signal_group(process.pid, 15)


def test_this_machine_has_one_identity() -> None:
    assert host_identity()
    assert host_identity() == host_identity()
