from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

import topcoat
from topcoat.errors import SchedulerError, StateError, UsageError
from topcoat.schedulers.api import Stream
from topcoat.schedulers.local import cwd_scheduler
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.cwd_scheduler import LocalScheduler, create_scheduler
from topcoat.schedulers.local.process import start_mark
from topcoat.specs import NONE, AppDef, AppState, CfgVal, Resource, RetryPolicy, Role, is_terminal, macros

Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalScheduler:
    monkeypatch.chdir(tmp_path)
    return create_scheduler("s", unknown=1)


def shell(script: str, name: str = "w", **role: object) -> Role:
    return Role(name, "image", entrypoint="sh", args=["-c", script], **role)  # type: ignore[arg-type]


def wait(local: LocalScheduler, app_id: str) -> AppState:
    deadline = time.monotonic() + 20
    while True:
        response = local.describe(app_id)
        assert response is not None
        if is_terminal(response.state):
            return response.state
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_options_are_those_of_torchx(local: LocalScheduler) -> None:
    assert {key: (opt.opt_type, opt.default) for key, opt in local.run_opts()} == {
        "log_dir": (str, None),
        "prepend_cwd": (bool, False),
        "auto_set_cuda_visible_devices": (bool, False),
    }


def test_a_dry_run_runs_and_writes_nothing(local: LocalScheduler, tmp_path: Path) -> None:
    info = local.submit_dryrun(AppDef("x", [shell("touch ran")]), {})
    assert "touch ran" in repr(info)
    assert list(tmp_path.iterdir()) == []
    assert not local_jobs.directory("x").parent.exists()


def test_a_job_runs_in_the_current_directory_with_its_variables(local: LocalScheduler, tmp_path: Path) -> None:
    names = "TOPCOAT_ROLE TOPCOAT_REPLICA_ID TOPCOAT_NUM_REPLICAS TOPCOAT_RANK0_HOST TORCHX_IMAGE"
    script = " ".join(["echo", "$$PWD", *(f"$${name}" for name in names.split()), macros.app_id, "$$TORCHX_JOB_ID"])
    app_id = local.submit(AppDef("x", [shell(script, num_replicas=2)]), {})
    assert wait(local, app_id) is AppState.SUCCEEDED
    line = f"{tmp_path} w 1 2 localhost image {app_id} local_cwd://s/{app_id}\n"
    assert list(local.log_iter(app_id, "w", 1)) == [line]


def test_each_stream_has_its_log(local: LocalScheduler) -> None:
    app_id = local.submit(AppDef("x", [shell("echo out; sleep 0.05; echo err >&2")]), {})
    wait(local, app_id)
    assert list(local.log_iter(app_id, "w")) == ["out\n", "err\n"]
    assert list(local.log_iter(app_id, "w", streams=Stream.COMBINED)) == ["out\n", "err\n"]
    assert list(local.log_iter(app_id, "w", streams=Stream.STDOUT)) == ["out\n"]
    assert list(local.log_iter(app_id, "w", streams=Stream.STDERR)) == ["err\n"]
    assert list(local.log_iter(app_id, "w", regex="e.r")) == ["err\n"]


def test_a_log_is_followed_to_the_end_of_the_job(local: LocalScheduler, tmp_path: Path) -> None:
    app_id = local.submit(AppDef("x", [shell("echo one; while ! [ -e go ]; do sleep 0.02; done; printf two")]), {})
    lines = iter(local.log_iter(app_id, "w", should_tail=True))
    assert next(lines) == "one\n"
    response = local.describe(app_id)
    assert response is not None
    assert response.state is AppState.RUNNING
    (tmp_path / "go").touch()
    assert "".join(lines) == "two"


def test_a_log_can_be_cut_by_time(local: LocalScheduler, tmp_path: Path, eventually: Eventually) -> None:
    script = "echo early; while ! [ -e go ]; do sleep 0.02; done; echo late"
    app_id = local.submit(AppDef("x", [shell(script)]), {})
    eventually(lambda: list(local.log_iter(app_id, "w")) == ["early\n"])
    time.sleep(0.1)
    between = datetime.now()
    time.sleep(0.1)
    (tmp_path / "go").touch()
    wait(local, app_id)
    assert list(local.log_iter(app_id, "w", since=between)) == ["late\n"]
    assert list(local.log_iter(app_id, "w", until=between)) == ["early\n"]


def test_a_replica_that_does_not_exist_is_named_with_those_that_do(local: LocalScheduler) -> None:
    app_id = local.submit(AppDef("x", [shell("true", num_replicas=2)]), {})
    for role, number in (("w", 2), ("v", 0)):
        with pytest.raises(UsageError, match=f"no replica {role}/{number}") as caught:
            local.log_iter(app_id, role, number)
        assert caught.value.hint == "it has w/0, w/1"


def test_logs_are_written_to_log_dir(local: LocalScheduler, tmp_path: Path) -> None:
    app_id = local.submit(AppDef("x", [shell("echo hi")]), {"log_dir": "logs"})
    wait(local, app_id)
    assert (tmp_path / "logs" / "s" / app_id / "w" / "0" / "stdout.log").read_text() == "hi\n"
    assert list(local.log_iter(app_id, "w")) == ["hi\n"]
    local.delete(app_id)
    assert (tmp_path / "logs" / "s" / app_id / "w" / "0" / "stdout.log").exists()


def test_a_job_is_described_as_it_was_declared(local: LocalScheduler) -> None:
    role = shell("sleep 60", num_replicas=2, max_retries=1, retry_policy=RetryPolicy.ROLE, resource=Resource(1, 0, 64))
    app_id = local.submit(AppDef("x", [role], metadata={"who": "me"}), {})
    response = local.describe(app_id)
    assert response is not None
    assert (response.app_id, response.state, response.num_restarts) == (app_id, AppState.RUNNING, 0)
    assert response.roles == [role]
    assert response.metadata == {"who": "me"}
    assert [(replica.id, replica.state, replica.role) for replica in response.roles_statuses[0].replicas] == [
        (0, AppState.RUNNING, "w"),
        (1, AppState.RUNNING, "w"),
    ]
    assert response.ui_url == f"file://{local_jobs.directory(app_id) / 'logs'}"


def test_the_error_file_of_the_replica_that_failed_is_the_jobs(local: LocalScheduler) -> None:
    fail = 'echo "{\\"message\\": \\"lost $$TOPCOAT_ROLE\\"}" > $$TORCHELASTIC_ERROR_FILE; exit 1'
    first = shell(f"while ! [ -e ready ]; do sleep 0.02; done; {fail}", "a")
    # It fails too, but because it is asked to end.
    second = shell(f"trap '{fail}' TERM; touch ready; while :; do sleep 0.02; done", "b")
    app_id = local.submit(AppDef("x", [first, second]), {})
    assert wait(local, app_id) is AppState.FAILED
    response = local.describe(app_id)
    assert response is not None
    assert response.structured_error_msg == '{"message": "lost a"}'
    statuses = {status.role: status.replicas[0] for status in response.roles_statuses}
    assert statuses["a"].structured_error_msg == '{"message": "lost a"}'
    assert statuses["b"].structured_error_msg == NONE
    assert response.msg == "a/0 ended with exit code 1"


def test_jobs_are_listed_the_newest_first_and_only_this_schedulers(local: LocalScheduler) -> None:
    first = local.submit(AppDef("one", [shell("true")]), {})
    second = local.submit(AppDef("two", [shell("sleep 60")]), {})
    other = LocalScheduler("s", backend="other")
    wait(local, first)
    assert [(app.app_id, app.state, app.name) for app in local.list()] == [
        (second, AppState.RUNNING, "two"),
        (first, AppState.SUCCEEDED, "one"),
    ]
    assert other.list() == []
    assert other.describe(first) is None
    assert not other.exists(first)


def test_cancelling_ends_a_job(local: LocalScheduler) -> None:
    app_id = local.submit(AppDef("x", [shell("sleep 60")]), {})
    local.cancel(app_id)
    assert wait(local, app_id) is AppState.CANCELLED


def test_deleting_ends_a_job_and_removes_it(local: LocalScheduler, eventually: Eventually) -> None:
    app_id = local.submit(AppDef("x", [shell("sleep 60")]), {})
    job = local_jobs.load(app_id)
    assert job is not None
    local.delete(app_id)
    assert local.describe(app_id) is None
    assert not job.directory.exists()
    eventually(lambda: start_mark(job.status["replicas"][0]["pid"]) is None)


def test_describe_returns_none_for_an_unknown_job(local: LocalScheduler) -> None:
    assert local.describe("nope") is None
    local.cancel("nope")
    local.delete("../nope")


def test_gpus_are_distributed(local: LocalScheduler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\n[ "$1" = -L ] || exit 1\nfor i in 0 1 2 3; do echo GPU $i; done\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    app = AppDef("x", [shell("true", num_replicas=2, resource=Resource(1, 2, 1))])

    def visible(cfg: dict[str, CfgVal]) -> list[str | None]:
        params = local.submit_dryrun(app, cfg).request.role_params["w"]
        return [param.env.get("CUDA_VISIBLE_DEVICES") for param in params]

    assert visible({"auto_set_cuda_visible_devices": True}) == ["0,1", "2,3"]
    assert visible({}) == [None, None]


def test_without_nvidia_smi_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cwd_scheduler.cuda_device_count() == 0


SHELL = """
import sys
from topcoat.schedulers.local.cwd_scheduler import create_scheduler
from topcoat.specs import AppDef, Role
print(create_scheduler("s").submit(AppDef("far", [Role("w", "i", entrypoint="sh", args=["-c", sys.argv[1]])]), {}))
"""


def submit_from_another_shell(script: str, directory: Path) -> str:
    root = str(Path(topcoat.__file__).parents[1])
    done = subprocess.run(
        # Its own session, as a terminal has: when the shell in it ends, so does what hangs on it.
        [sys.executable, "-c", SHELL, script],
        capture_output=True,
        text=True,
        check=True,
        cwd=directory,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_job_outlives_the_shell_that_started_it(
    local: LocalScheduler, tmp_path: Path, eventually: Eventually
) -> None:
    app_id = submit_from_another_shell("echo begin; while ! [ -e go ]; do sleep 0.02; done; echo end", tmp_path)
    assert [(app.app_id, app.state) for app in local.list()] == [(app_id, AppState.RUNNING)]
    job = local_jobs.load(app_id)
    assert job is not None
    assert os.getsid(job.status["pid"]) == job.status["pid"], "a terminal can interrupt it"
    eventually(lambda: list(local.log_iter(app_id, "w")) == ["begin\n"])
    (tmp_path / "go").touch()
    assert "".join(local.log_iter(app_id, "w", should_tail=True)) == "begin\nend\n"
    assert wait(local, app_id) is AppState.SUCCEEDED


def test_a_job_of_another_shell_can_be_cancelled(local: LocalScheduler, tmp_path: Path) -> None:
    app_id = submit_from_another_shell("sleep 60", tmp_path)
    local.cancel(app_id)
    assert wait(local, app_id) is AppState.CANCELLED


def test_times_and_exit_codes_of_replicas_are_known(local: LocalScheduler) -> None:
    before = datetime.now(timezone.utc)
    scripts = {"a": "exit 0", "b": "kill -9 $$$$", "c": "exec sleep 60"}
    app_id = local.submit(AppDef("x", [shell(text, name) for name, text in scripts.items()]), {})
    wait(local, app_id)
    replicas = {times.role: times for times in local.replica_times(app_id)}
    assert list(replicas) == ["a", "b", "c"]
    assert replicas["b"].exit_code == 137
    for times in replicas.values():
        assert times.started is not None
        assert times.ended is not None
        assert before <= times.started <= times.ended <= datetime.now(timezone.utc)


def test_a_replica_that_runs_has_no_end(local: LocalScheduler) -> None:
    app_id = local.submit(AppDef("x", [shell("exec sleep 60")]), {})
    (times,) = local.replica_times(app_id)
    assert times.started is not None
    assert (times.ended, times.exit_code) == (None, None)
    local.cancel(app_id)
    wait(local, app_id)
    (times,) = local.replica_times(app_id)
    assert times.ended is not None
    assert times.exit_code == 128 + 15


def test_an_unknown_job_has_no_times(local: LocalScheduler) -> None:
    assert list(local.replica_times("nope")) == []


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "link"])
def test_an_error_file_that_is_no_file_makes_nobody_wait(local: LocalScheduler, tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("not a part of the job\n")
    make = {
        "fifo": "mkfifo $$TORCHELASTIC_ERROR_FILE",
        "directory": "mkdir $$TORCHELASTIC_ERROR_FILE",
        "device": "ln -s /dev/zero $$TORCHELASTIC_ERROR_FILE",
        "link": f"ln -s {tmp_path}/secret $$TORCHELASTIC_ERROR_FILE",
    }[kind]
    app_id = local.submit(AppDef("x", [shell(f"{make}; exit 3")]), {})
    assert wait(local, app_id) is AppState.FAILED
    response = local.describe(app_id)
    assert response is not None
    assert response.structured_error_msg == NONE


def test_a_large_error_file_is_cut_and_that_is_said(local: LocalScheduler) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' x > $$TORCHELASTIC_ERROR_FILE; exit 3"
    app_id = local.submit(AppDef("x", [shell(script)]), {})
    assert wait(local, app_id) is AppState.FAILED
    response = local.describe(app_id)
    assert response is not None
    assert response.structured_error_msg == "x" * 65536 + "... (the error file is longer than 65536 bytes)"


@pytest.mark.parametrize("roles", [[7], [{"name": "w"}], [{"mounts": 7}], [[]]])
def test_a_job_with_a_damaged_role_is_an_error_and_is_listed(local: LocalScheduler, roles: object) -> None:
    app_id = local.submit(AppDef("x", [shell("true")]), {})
    wait(local, app_id)
    record = local_jobs.directory(app_id) / "job.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "roles": roles}))
    with pytest.raises(StateError, match="invalid role"):
        local.describe(app_id)
    assert [app.app_id for app in local.list()] == [app_id]


def test_a_fifo_in_the_place_of_a_log_makes_nobody_wait(local: LocalScheduler, tmp_path: Path) -> None:
    info = local.submit_dryrun(AppDef("x", [shell("true")]), {"log_dir": str(tmp_path / "logs")})
    log = Path(info.request.role_params["w"][0].stdout)
    log.parent.mkdir(parents=True)
    os.mkfifo(log)
    with pytest.raises(SchedulerError, match="cannot start the job's supervisor"):
        local.schedule(info)
    assert local.list() == []
