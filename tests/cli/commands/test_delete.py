from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, environment
from topcoat.errors import SchedulerError
from topcoat.runner import Runner
from topcoat.schedulers.local import jobs as local_jobs

WRITES = "mkdir -p out; echo 1 > out/step-1.pt; echo 2 > out/step-2.pt; echo changed >> train.py"


@pytest.fixture
def job(cli: Cli, workspace: Path) -> tuple[str, Path]:
    """The handle and job directory of a job that wrote files into it."""
    done = cli("run", "--", "sh", "-c", WRITES)
    handle = done.out.strip()
    directory = local_jobs.directory(handle.rpartition("/")[2]) / "code"
    files = f"3 files of the job in {directory}: out/step-1.pt, out/step-2.pt, train.py"
    assert f"topcoat: {files}; topcoat delete removes them with the job\n" in done.err
    return handle, directory


def test_without_a_terminal_files_that_the_job_wrote_are_not_deleted(cli: Cli, job: tuple[str, Path]) -> None:
    handle, directory = job
    done = cli("delete", handle)
    assert done.code == 1
    message, hint = done.error
    assert message.startswith(
        f"{handle} was not deleted: that would delete 3 files of the job in {directory}: out/step"
    )
    assert hint.endswith(f"topcoat delete --force {handle}")
    assert (directory / "out/step-2.pt").read_text() == "2\n"


def test_force_deletes_them_and_says_where_they_were(cli: Cli, job: tuple[str, Path]) -> None:
    handle, directory = job
    done = cli("delete", "--force", handle)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith(f"topcoat: deleting 3 files of the job in {directory}: ")
    assert not directory.parent.exists()


def test_force_needs_no_list_of_them(cli: Cli, job: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Runner, handle: str) -> None:
        raise SchedulerError("no response within 30 s")

    handle, directory = job
    monkeypatch.setattr(Runner, "outputs", fail)
    assert cli("delete", handle).error[0] == "no response within 30 s"
    assert cli("delete", "--force", handle).code == 0
    assert not directory.parent.exists()


@pytest.mark.parametrize(("typed", "deleted"), [("y\n", True), ("\n", False), ("n\n", False), ("\x04", False)])
def test_a_terminal_is_asked(job: tuple[str, Path], typed: str, deleted: bool) -> None:
    handle, directory = job
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "topcoat", "delete", handle]
    with subprocess.Popen(command, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(mine, 1000)
        os.write(mine, typed.encode())
        assert process.wait(60) == 0
    os.close(mine)
    assert b"delete 3 files of the job in" in shown
    assert directory.exists() is not deleted


def test_a_job_that_wrote_nothing_is_deleted_at_once(cli: Cli, workspace: Path) -> None:
    done = cli("run", "--", sys.executable, "-c", "import pkg, train")
    assert "of the job in" not in done.err
    assert cli("delete", done.out.strip()) == (0, "", "")


def test_files_in_a_job_directory_of_the_users_are_kept(
    cli: Cli, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cli("run", "-cfg", "job_dir=../mine", "--", "sh", "-c", "echo 1 > made.pt")
    monkeypatch.chdir(tmp_path)
    assert f"1 file of the job in {tmp_path / 'mine'}: made.pt\n" in done.err
    deleted = cli("delete", done.out.strip())
    assert (deleted.code, deleted.err) == (0, f"topcoat: kept 1 file of the job in {tmp_path / 'mine'}: made.pt\n")
    assert (tmp_path / "mine/made.pt").exists()


def test_a_name_that_others_chose_is_escaped(cli: Cli, workspace: Path) -> None:
    done = cli("run", "--", sys.executable, "-c", r"open('a\x1b[31m\nb', 'w')")
    assert r": a\x1b[31m\x0ab;" in done.err


def test_a_cancelled_job_names_its_files_too(workspace: Path) -> None:
    command = [sys.executable, "-m", "topcoat", "run", "--", "sh", "-c", "echo 1 > made.pt; echo ready; sleep 60"]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr
        while b"ready" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        shown = process.stderr.read()
    assert b"1 file of the job in" in shown
    assert b": made.pt; topcoat delete removes them" in shown
