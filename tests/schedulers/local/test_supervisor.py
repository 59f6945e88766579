"""What the supervisor does with the processes of a job; all of them are real."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.process import start_mark
from topcoat.schedulers.local.supervisor import how_it_ended
from topcoat.specs import AppState, is_terminal

Eventually = Callable[[Callable[[], bool]], None]


def replica(logs: Path, *args: str, role: str = "w", number: int = 0, **changes: Any) -> dict[str, Any]:
    home = logs / role / str(number)
    files = {name: str(home / f"{name}.log") for name in ("stdout", "stderr", "combined")}
    spec = {"role": role, "id": number, "args": list(args), "env": {}, "cwd": str(logs)}
    return {**spec, **files, "error_file": str(home / "error.json"), **changes}


def run(*replicas: dict[str, Any], policy: str = "APPLICATION", retries: int = 0, grace: float = 10) -> str:
    """Start a job and return its id."""
    roles = {spec["role"] for spec in replicas}
    job = {
        "scheduler": "local_cwd",
        "grace": grace,
        "retries": {role: {"policy": policy, "max": retries} for role in roles},
        "replicas": list(replicas),
    }
    local_jobs.start("job", job)
    return "job"


def load() -> local_jobs.LocalJob:
    job = local_jobs.load("job")
    assert job is not None
    return job


def end() -> local_jobs.LocalJob:
    """Wait until the job has ended."""
    deadline = time.monotonic() + 20
    while not is_terminal((job := load()).state):
        assert time.monotonic() < deadline, job.status
        time.sleep(0.01)
    return job


def states(job: local_jobs.LocalJob) -> dict[str, str]:
    return {
        f"{each_replica['role']}/{each_replica['id']}": each_replica["state"] for each_replica in job.status["replicas"]
    }


def sh(script: str) -> tuple[str, str, str]:
    return "sh", "-c", script


def test_a_job_succeeds_when_all_its_replicas_do(tmp_path: Path) -> None:
    run(replica(tmp_path, "true"), replica(tmp_path, "true", number=1))
    job = end()
    assert job.state is AppState.SUCCEEDED
    assert [each_replica["exit_code"] for each_replica in job.status["replicas"]] == [0, 0]
    assert job.status["msg"] == ""


def test_outputs_are_kept_apart_and_together(tmp_path: Path) -> None:
    run(replica(tmp_path, *sh("echo out; echo err >&2; printf last")))
    end()
    home = tmp_path / "w" / "0"
    assert (home / "stdout.log").read_text() == "out\nlast"
    assert (home / "stderr.log").read_text() == "err\n"
    assert sorted((home / "combined.log").read_text().split()) == ["err", "last", "out"]


def test_both_outputs_appear_together_in_the_order_they_came(tmp_path: Path) -> None:
    # Two streams have no order among themselves if both have something to read.
    seen = "until grep -q {0}$i w/0/combined.log; do sleep 0.02; done"
    script = f"echo out$i; {seen.format('out')}; echo err$i >&2; {seen.format('err')}"
    run(replica(tmp_path, *sh(f"for i in 1 2 3; do {script}; done")))
    end()
    assert (tmp_path / "w/0/combined.log").read_text().split() == ["out1", "err1", "out2", "err2", "out3", "err3"]


def test_large_outputs_are_complete(tmp_path: Path) -> None:
    run(replica(tmp_path, sys.executable, "-c", "for i in range(200_000): print(i)"))
    end()
    expected = "".join(f"{number}\n" for number in range(200_000))
    assert (tmp_path / "w/0/stdout.log").read_text() == expected
    assert (tmp_path / "w/0/combined.log").read_text() == expected


def test_a_replica_sees_the_environment_and_its_own_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    run(replica(tmp_path, *sh('echo "$INHERITED $OWN $PWD"'), env={"OWN": "mine"}))
    end()
    assert (tmp_path / "w/0/stdout.log").read_text() == f"yes mine {tmp_path}\n"


def test_a_replica_has_no_terminal_and_an_empty_input(tmp_path: Path) -> None:
    run(replica(tmp_path, *sh('cat; test -t 0 || echo no tty; ps -o sid= -p $$ | grep -qx " *$$" && echo own session')))
    end()
    assert (tmp_path / "w/0/stdout.log").read_text() == "no tty\nown session\n"


def test_when_one_fails_the_others_are_ended(tmp_path: Path) -> None:
    run(replica(tmp_path, "sleep", "60"), replica(tmp_path, *sh("exit 3"), number=1), grace=5)
    job = end()
    assert job.state is AppState.FAILED
    assert states(job) == {"w/0": "CANCELLED", "w/1": "FAILED"}
    assert job.status["msg"] == "w/1 ended with exit code 3"


def test_a_signal_is_named(tmp_path: Path) -> None:
    run(replica(tmp_path, *sh("kill -SEGV $$")))
    job = end()
    assert job.status["msg"] == "w/0 was killed by SIGSEGV"
    assert job.status["replicas"][0]["exit_code"] == -11


def test_a_missing_program_fails_like_in_a_shell(tmp_path: Path) -> None:
    run(replica(tmp_path, "no-such-program"), replica(tmp_path, "true", number=1), retries=3)
    job = end()
    assert job.state is AppState.FAILED
    assert job.status["msg"] == f"w/0: no program 'no-such-program' in {tmp_path} or on PATH"
    assert [each_replica["exit_code"] for each_replica in job.status["replicas"]] == [127, None]
    assert states(job) == {"w/0": "FAILED", "w/1": "CANCELLED"}
    assert job.status["num_restarts"] == 0


def test_a_program_that_may_not_be_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    run(replica(tmp_path, "./tool"))
    job = end()
    assert job.status["msg"] == "w/0: the program './tool' cannot be started: Permission denied"
    assert job.status["replicas"][0]["exit_code"] == 126


def test_a_script_without_its_interpreter_says_so(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/no/such/shell\n")
    (tmp_path / "tool").chmod(0o755)
    run(replica(tmp_path, "./tool"))
    assert "interpreter" in end().status["msg"]


def test_a_missing_working_directory_says_so(tmp_path: Path) -> None:
    run(replica(tmp_path, "true", cwd=str(tmp_path / "gone")))
    assert end().status["msg"] == f"w/0: the working directory {tmp_path / 'gone'} does not exist"


def test_programs_are_found_on_the_roles_own_path(tmp_path: Path) -> None:
    (tmp_path / "mytool").write_text("#!/bin/sh\necho found\n")
    (tmp_path / "mytool").chmod(0o755)
    run(replica(tmp_path, "mytool", env={"PATH": f"/usr/bin:/bin:{tmp_path}"}))
    end()
    assert (tmp_path / "w/0/stdout.log").read_text() == "found\n"


FAILS_TWICE = 'echo run >> "$MARK"; [ $(wc -l < "$MARK") -ge 3 ] || exit 7'


def test_a_replica_is_restarted_max_retries_times(tmp_path: Path) -> None:
    run(replica(tmp_path, *sh(FAILS_TWICE), env={"MARK": str(tmp_path / "mark")}), policy="REPLICA", retries=2)
    job = end()
    assert job.state is AppState.SUCCEEDED
    assert job.status["num_restarts"] == 2


def test_after_its_retries_a_job_fails(tmp_path: Path) -> None:
    run(replica(tmp_path, *sh(FAILS_TWICE), env={"MARK": str(tmp_path / "mark")}), policy="REPLICA", retries=1)
    job = end()
    assert job.state is AppState.FAILED
    assert job.status["msg"] == "w/0 ended with exit code 7, after 1 restart"


@pytest.mark.parametrize(
    ("policy", "runs"),
    [
        ("REPLICA", {"a/0": 2, "a/1": 1, "b/0": 1}),
        ("ROLE", {"a/0": 2, "a/1": 2, "b/0": 1}),
        ("APPLICATION", {"a/0": 2, "a/1": 2, "b/0": 2}),
    ],
)
def test_the_retry_policy_selects_what_is_restarted(tmp_path: Path, policy: str, runs: dict[str, int]) -> None:
    # The first one fails once, when all have begun; the others wait until it has run twice.
    mark = tmp_path / "mark"
    mark.mkdir()
    begin = f"echo x >> {mark}/$ME; "
    wait = f"while [ $(cat {mark}/* | wc -l) -lt %d ]; do sleep 0.02; done; "
    failing = begin + wait % 3 + f"[ $(wc -l < {mark}/a0) -ge 2 ]"
    waiting = begin + f"while [ $(wc -l < {mark}/a0) -lt 2 ]; do sleep 0.02; done"
    run(
        replica(tmp_path, *sh(failing), role="a", env={"ME": "a0"}),
        replica(tmp_path, *sh(waiting), role="a", number=1, env={"ME": "a1"}),
        replica(tmp_path, *sh(waiting), role="b", env={"ME": "b0"}),
        policy=policy,
        retries=1,
    )
    job = end()
    assert job.state is AppState.SUCCEEDED, job.status
    counted = {f"{path.name[0]}/{path.name[1]}": len(path.read_text().split()) for path in mark.iterdir()}
    assert counted == runs
    assert job.status["num_restarts"] == 1


def test_what_was_logged_before_a_restart_is_kept(tmp_path: Path) -> None:
    run(replica(tmp_path, *sh(f"echo hello; {FAILS_TWICE}"), env={"MARK": str(tmp_path / "mark")}), retries=2)
    end()
    assert (tmp_path / "w/0/stdout.log").read_text() == "hello\n" * 3


def test_a_restart_begins_without_the_old_error_file(tmp_path: Path) -> None:
    error = tmp_path / "w" / "0" / "error.json"
    script = (
        f'[ -e {error} ] && exit 9; echo x >> {tmp_path}/m; echo "{{}}" > {error}; [ $(wc -l < {tmp_path}/m) -ge 2 ]'
    )
    run(replica(tmp_path, *sh(script)), retries=1)
    assert end().state is AppState.SUCCEEDED


def test_cancelling_ends_all_processes_of_all_replicas(tmp_path: Path, eventually: Eventually) -> None:
    script = "sleep 60 & echo $! > child$ME; wait"
    run(*(replica(tmp_path, *sh(script), number=number, env={"ME": str(number)}) for number in (0, 1)))
    eventually(lambda: all((tmp_path / f"child{number}").exists() for number in (0, 1)))
    eventually(lambda: all((tmp_path / f"child{number}").read_text().strip() != "" for number in (0, 1)))
    local_jobs.cancel(load())
    job = end()
    assert job.state is AppState.CANCELLED
    assert set(states(job).values()) == {"CANCELLED"}
    for number in (0, 1):
        child = int((tmp_path / f"child{number}").read_text())
        eventually(lambda child=child: start_mark(child) is None)


def test_a_replica_may_clean_up_before_it_ends(tmp_path: Path, eventually: Eventually) -> None:
    run(replica(tmp_path, *sh('trap "echo saved; exit 0" TERM; touch ready; while :; do sleep 0.02; done')))
    eventually((tmp_path / "ready").exists)
    local_jobs.cancel(load())
    assert end().state is AppState.CANCELLED
    assert (tmp_path / "w/0/stdout.log").read_text() == "saved\n"


def test_a_replica_that_does_not_end_is_killed(tmp_path: Path, eventually: Eventually) -> None:
    run(replica(tmp_path, *sh('trap "" TERM; touch ready; while :; do sleep 0.02; done')), grace=0.3)
    eventually((tmp_path / "ready").exists)
    local_jobs.cancel(load())
    job = end()
    assert job.state is AppState.CANCELLED
    assert job.status["replicas"][0]["exit_code"] == -9


def test_what_a_replica_leaves_running_ends_with_it(tmp_path: Path, eventually: Eventually) -> None:
    run(replica(tmp_path, *sh("sleep 60 & echo $! > child")))
    assert end().state is AppState.SUCCEEDED
    child = int((tmp_path / "child").read_text())
    eventually(lambda: start_mark(child) is None)


def test_a_process_that_left_the_process_group_does_not_delay_the_job(tmp_path: Path) -> None:
    (tmp_path / "away.py").write_text(
        "import os, time\nos.setsid()\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(30)\n"
    )
    script = f"{sys.executable} away.py & "
    run(replica(tmp_path, *sh(script + "while ! [ -s pid ]; do sleep 0.02; done; echo done")))
    assert end().state is AppState.SUCCEEDED
    assert (tmp_path / "w/0/stdout.log").read_text() == "done\n"
    assert start_mark(int((tmp_path / "pid").read_text())) is None


def test_a_replica_that_closes_its_outputs_causes_no_busy_loop(tmp_path: Path, eventually: Eventually) -> None:
    run(replica(tmp_path, *sh("exec >&- 2>&-; sleep 1; touch finished; while ! [ -e go ]; do sleep 0.02; done")))
    supervisor = load().status["pid"]
    eventually((tmp_path / "finished").exists)
    with open(f"/proc/{supervisor}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    (tmp_path / "go").touch()
    assert int(fields[11]) + int(fields[12]) < 20, "it was busy waiting"
    assert end().state is AppState.SUCCEEDED


def test_the_supervisor_needs_no_third_party_module_and_nothing_of_the_users_directory(tmp_path: Path) -> None:
    for name in ("json", "selectors", "signal", "topcoat"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    root = str(Path(local_jobs.__file__).parents[3])
    code = (
        f"import sys; sys.path.append({root!r}); import topcoat.schedulers.local.supervisor;"
        "print(sorted({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'__main__'}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "['topcoat']"


@pytest.mark.parametrize(
    ("exit_code", "text"),
    [(3, "ended with exit code 3"), (-15, "was killed by SIGTERM"), (-63, "was killed by signal 63")],
)
def test_an_exit_code_is_described(exit_code: int, text: str) -> None:
    assert how_it_ended(exit_code) == text
