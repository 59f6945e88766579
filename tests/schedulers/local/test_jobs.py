from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.schedulers.local.test_supervisor import end, load, replica, run
from topcoat.errors import SchedulerError, StateError
from topcoat.leftovers import remove_leftovers
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.process import boot_time, host_identity, start_mark
from topcoat.specs import AppState

Eventually = Callable[[Callable[[], bool]], None]


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def sleeping(tmp_path: Path) -> local_jobs.LocalJob:
    run(replica(tmp_path, "sleep", "60"))
    return load()


def test_a_job_is_kept_for_its_owner_only(sleeping: local_jobs.LocalJob) -> None:
    for path in (sleeping.directory, sleeping.directory / "job.json", sleeping.directory / "status.json"):
        assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
    assert sleeping.directory.stat().st_mode & 0o777 == 0o700
    assert (sleeping.directory / "job.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("app_id", ["nope", "", ".", "..", "../jobs", "a/b", "/etc"])
def test_an_unknown_id_has_no_job(app_id: str) -> None:
    assert local_jobs.load(app_id) is None


def test_other_directories_are_ignored(sleeping: local_jobs.LocalJob, notices: list[str]) -> None:
    jobs = sleeping.directory.parent
    (jobs / "file").write_text("x")
    (jobs / "empty").mkdir()
    assert [job.directory.name for job in local_jobs.load_all()] == ["job"]
    assert notices == []


def test_a_job_is_started_once(sleeping: local_jobs.LocalJob, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match="started already"):
        run(replica(tmp_path, "true"))
    assert load().state is AppState.RUNNING


def test_a_supervisor_that_was_killed_leaves_a_failed_job_and_no_process(
    sleeping: local_jobs.LocalJob, eventually: Eventually
) -> None:
    pid = sleeping.status["replicas"][0]["pid"]
    os.kill(sleeping.status["pid"], signal.SIGKILL)
    eventually(lambda: start_mark(sleeping.status["pid"]) is None)
    job = load()
    assert job.state is AppState.FAILED
    assert job.status["msg"] == "its supervisor has died: the machine was restarted, or the process was killed"
    assert job.status["replicas"][0]["state"] == "FAILED"
    eventually(lambda: start_mark(pid) is None)
    assert json.loads((job.directory / "status.json").read_text())["state"] == "FAILED"


def test_a_process_that_got_the_number_of_the_dead_supervisor_is_not_taken_for_it(
    sleeping: local_jobs.LocalJob,
) -> None:
    supervisor = sleeping.status["pid"]
    # This very process stands for one that was given the number later.
    change(sleeping.directory / "status.json", pid=os.getpid(), replicas=[])
    job = load()
    assert job.state is AppState.FAILED
    local_jobs.cancel(job)
    os.kill(supervisor, signal.SIGTERM)


def test_processes_that_got_the_numbers_of_dead_replicas_live_on(sleeping: local_jobs.LocalJob) -> None:
    # The supervisor is gone by its mark, and the replica's number is somebody else's now.
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        replicas = [{**sleeping.status["replicas"][0], "pid": other.pid, "start": "0"}]
        change(sleeping.directory / "status.json", start="0", replicas=replicas)
        assert load().state is AppState.FAILED
        assert start_mark(other.pid) is not None
    finally:
        other.kill()
        other.wait()
        os.kill(sleeping.status["pid"], signal.SIGTERM)


def test_a_job_from_before_a_reboot_has_failed(
    sleeping: local_jobs.LocalJob, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    host = host_identity().split()[0]
    change(sleeping.directory / "job.json", host=f"{host} another-boot pid:[1]")
    for name in ("job.json", "status.json"):
        os.utime(sleeping.directory / name, (boot_time() - 1, boot_time() - 1))
    monkeypatch.setattr(local_jobs, "_MAX_SILENCE_S", float("inf"))
    assert load().state is AppState.FAILED
    assert start_mark(sleeping.status["pid"]) is not None, "nothing of this boot is touched"
    os.kill(sleeping.status["pid"], signal.SIGTERM)
    eventually(lambda: start_mark(sleeping.status["pid"]) is None)


def test_a_job_of_another_machine_runs_while_its_status_is_updated(
    sleeping: local_jobs.LocalJob, eventually: Eventually
) -> None:
    change(sleeping.directory / "job.json", host="elsewhere boot")
    assert load().state is AppState.RUNNING
    with pytest.raises(SchedulerError, match="runs on elsewhere") as caught:
        local_jobs.cancel(load())
    assert caught.value.hint
    long_ago = time.time() - 3600
    for name in ("job.json", "status.json"):
        os.utime(sleeping.directory / name, (long_ago, long_ago))
    assert load().state is AppState.FAILED
    assert start_mark(sleeping.status["pid"]) is not None, "a machine ends its own processes only"
    os.kill(sleeping.status["pid"], signal.SIGTERM)
    eventually(lambda: start_mark(sleeping.status["pid"]) is None)


def test_a_job_whose_start_was_cut_short_has_failed(sleeping: local_jobs.LocalJob) -> None:
    supervisor = sleeping.status["pid"]
    change(sleeping.directory / "status.json", state="SUBMITTED", pid=None, start=None, replicas=[])
    assert load().state is AppState.SUBMITTED
    change(sleeping.directory / "job.json", launcher=[2**22 + 1, "0"])
    job = load()
    assert job.state is AppState.FAILED
    assert "never started" in job.status["msg"]
    os.kill(supervisor, signal.SIGTERM)


def test_a_job_that_ends_while_its_status_is_read_has_not_failed(
    sleeping: local_jobs.LocalJob, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """The status is read, the supervisor writes the last one and ends, and only then it is looked for."""
    real = local_jobs._may_run

    def and_then_it_ends(home: Path, job: dict[str, Any], status: dict[str, Any]) -> bool:
        monkeypatch.setattr(local_jobs, "_may_run", real)
        local_jobs.cancel(local_jobs.LocalJob(home, job, status))
        end()
        eventually(lambda: start_mark(status["pid"]) is None)
        return real(home, job, status)

    monkeypatch.setattr(local_jobs, "_may_run", and_then_it_ends)
    assert load().state is AppState.CANCELLED


def test_cancelling_an_ended_job_does_nothing(tmp_path: Path) -> None:
    run(replica(tmp_path, "true"))
    local_jobs.cancel(end())
    assert load().state is AppState.SUCCEEDED


def test_a_supervisor_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    spec = replica(tmp_path, "true")
    del spec["cwd"]
    with pytest.raises(SchedulerError, match="cwd"):
        run(spec)
    assert list(local_jobs.load_all()) == []
    assert os.listdir(local_jobs.directory("x").parent) == []


def test_an_interrupt_during_the_start_ends_what_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = local_jobs.run

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(local_jobs, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(replica(tmp_path, "sleep", "60"))
    assert end().state is AppState.CANCELLED


def test_logs_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="file"):
        run(replica(tmp_path / "file", "true"))


def test_without_its_status_a_job_is_an_error_and_its_launcher_gets_no_signal(sleeping: local_jobs.LocalJob) -> None:
    """The status was never written, as on a full disk: the program that submitted it is no supervisor."""
    (sleeping.directory / "status.json").unlink()
    with pytest.raises(StateError, match=r"cannot read the job job: status\.json: No such file") as caught:
        load()
    assert caught.value.hint
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        change_to = {**sleeping.status, "state": "SUBMITTED", "pid": None, "start": None}
        (sleeping.directory / "status.json").write_text(json.dumps(change_to))
        assert load().state is AppState.SUBMITTED
        local_jobs.cancel(load())
        assert received == []
    finally:
        signal.signal(signal.SIGTERM, before)
        os.kill(sleeping.status["pid"], signal.SIGTERM)


def test_a_number_without_a_start_mark_is_not_signalled(sleeping: local_jobs.LocalJob) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        changed = sleeping._replace(status={**sleeping.status, "pid": other.pid, "start": None})
        local_jobs.cancel(changed)
        local_jobs.cancel(changed._replace(status={**changed.status, "start": "1"}))
        assert start_mark(other.pid) is not None
        assert start_mark(sleeping.status["pid"]) is not None
    finally:
        other.kill()
        other.wait()


def test_a_job_in_another_pid_namespace_is_not_declared_dead(
    sleeping: local_jobs.LocalJob, eventually: Eventually
) -> None:
    name, boot, _ = host_identity().split()
    change(sleeping.directory / "job.json", host=f"{name} {boot} pid:[1]")
    change(sleeping.directory / "status.json", start="1")
    before = (sleeping.directory / "status.json").read_bytes()
    assert load().state is AppState.RUNNING
    with pytest.raises(SchedulerError, match=r"in another container \(pid namespace\)"):
        local_jobs.cancel(load())
    # Once it has been silent for long, it is shown as failed; only its own namespace may write that down.
    long_ago = time.time() - 3600
    for record in ("job.json", "status.json"):
        os.utime(sleeping.directory / record, (long_ago, long_ago))
    assert load().state is AppState.FAILED
    assert (sleeping.directory / "status.json").read_bytes() == before
    os.kill(sleeping.status["pid"], signal.SIGTERM)
    eventually(lambda: start_mark(sleeping.status["pid"]) is None)


def test_a_machine_of_the_same_name_is_not_taken_for_this_one_before_its_boot(
    sleeping: local_jobs.LocalJob, eventually: Eventually
) -> None:
    change(sleeping.directory / "job.json", host=f"{host_identity().split()[0]} another-boot pid:[1]")
    assert load().state is AppState.RUNNING
    os.kill(sleeping.status["pid"], signal.SIGTERM)
    eventually(lambda: start_mark(sleeping.status["pid"]) is None)


def test_too_many_open_files_do_not_make_a_job_look_dead(sleeping: local_jobs.LocalJob) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wrong = []
    for limit in range(3, 40):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            job = local_jobs.load("job")
            if job is None or job.state is not AppState.RUNNING:
                wrong.append(limit)
        except (StateError, OSError):
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert wrong == []
    assert load().state is AppState.RUNNING


def test_a_start_that_is_interrupted_before_the_supervisor_begins_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[list[str]] = []

    def interrupted(command: list[str], **kwargs: Any) -> Any:
        late.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(local_jobs, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(replica(tmp_path, "touch", str(tmp_path / "started")))
    done = subprocess.run(late[0], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "started").exists()
    assert list(local_jobs.load_all()) == []
    assert os.listdir(local_jobs.directory("x").parent) == []


BAD_RECORDS: dict[str, bytes] = {
    "empty": b"",
    "zeros": b"\0" * 4096,
    "nested": b"[" * 100_000,
    "not_utf8": b'{"state": "\xff\xfe"}',
    "unknown_state": b'{"state": "PONDERING", "msg": "", "num_restarts": 0, "replicas": []}',
    "a_list": b"[1]",
    "a_number": b"1e999",
}


@pytest.mark.parametrize("name", ["job.json", "status.json"])
@pytest.mark.parametrize("kind", [*BAD_RECORDS, "fifo", "directory", "huge", "loop"])
def test_one_bad_record_is_one_line_and_the_other_jobs_are_listed(
    sleeping: local_jobs.LocalJob, notices: list[str], kind: str, name: str
) -> None:
    bad = sleeping.directory.with_name("bad")
    shutil.copytree(sleeping.directory, bad)
    record = bad / name
    record.unlink()
    if kind == "fifo":
        os.mkfifo(record)
    elif kind == "directory":
        record.mkdir()
    elif kind == "huge":
        with open(record, "wb") as file:
            file.truncate(1 << 40)
    elif kind == "loop":
        record.symlink_to(record.name)
    else:
        record.write_bytes(BAD_RECORDS[kind])
    assert [job.directory.name for job in local_jobs.load_all()] == ["job"]
    assert len(notices) == 1
    assert notices[0].startswith(f"cannot read the job bad: {name}: ")
    assert f"rm -r {bad}" in notices[0]
    assert len(notices[0]) < 400


def test_a_job_that_has_not_ended_is_not_removed(sleeping: local_jobs.LocalJob) -> None:
    with pytest.raises(SchedulerError, match="has not ended yet"):
        local_jobs.remove(sleeping)
    assert sleeping.directory.exists()


def test_a_removal_that_is_killed_is_finished_by_the_next_command(tmp_path: Path) -> None:
    run(replica(tmp_path, "true"))
    job = end()
    child = os.fork()
    if not child:
        shutil.rmtree = lambda path: (os.unlink(f"{path}/job.json"), os.kill(os.getpid(), signal.SIGKILL))  # type: ignore[assignment,misc]
        local_jobs.remove(job)
    os.waitpid(child, 0)
    assert job.directory.exists()
    assert list(local_jobs.load_all()) == []
    remove_leftovers()
    assert not job.directory.exists()


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(replica(tmp_path, "true"))
    job = end()

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", f"{path}/code/x")

    monkeypatch.setattr(shutil, "rmtree", denied)
    with pytest.raises(StateError, match=r"cannot remove .*/code/x: Permission denied") as caught:
        local_jobs.remove(job)
    assert caught.value.hint == f"rm -r {job.directory}"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\udcff\udcfe", "a b", "$(touch x)"])
def test_an_unusual_name_of_a_bad_job_is_one_printable_line(name: str, notices: list[str]) -> None:
    home = local_jobs.directory(name)
    home.mkdir(parents=True)
    (home / "job.json").write_text("{")
    assert list(local_jobs.load_all()) == []
    assert len(notices) == 1
    assert notices[0].isprintable()
