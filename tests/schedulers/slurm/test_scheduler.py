"""Jobs on a real cluster of four nodes."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from pathlib import Path

import pexpect
import pytest

from tests.cli.conftest import Cli
from tests.components.slurm import Slurm
from tests.schedulers.slurm.conftest import job_id, log_of, role, shell, state_of
from topcoat.destinations.directory import DirectoryDestination
from topcoat.errors import (
    DestinationError,
    InvalidApp,
    InvalidRunConfigException,
    JobDirConflict,
    SchedulerError,
    UsageError,
)
from topcoat.runner import Runner, get_runner
from topcoat.scan.scanner import Scan
from topcoat.schedulers.api import Stream
from topcoat.schedulers.slurm import client
from topcoat.schedulers.slurm.scheduler import create_scheduler
from topcoat.specs import AppDef, AppState, Resource, RetryPolicy, Workspace


def two_roles(workspace: Path, gate: Path) -> AppDef:
    code = Workspace({str(workspace): ""})
    words = ("python3", "show.py", str(gate))
    return AppDef(
        "pair",
        [
            role("train er", *words, num_replicas=2, workspace=code),
            role("ev'al", *words, num_replicas=2, workspace=code),
        ],
    )


def test_a_job_of_two_roles_on_four_nodes_runs_the_code_of_the_submission(
    runner: Runner, cluster: Slurm, workspace: Path, topcoat: Cli, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    (workspace / "code_under_test.py").write_text("TEXT = 'edited'\n")
    handle = runner.run(two_roles(workspace, gate), "slurm")
    (workspace / "code_under_test.py").write_text("TEXT = 'too late'\n")
    cluster.wait_until(lambda: state_of(runner, handle) is AppState.RUNNING, "the job", poke=True)
    cluster.wait_until(lambda: log_of(runner, handle, "ev'al", 1) != "", "its log")
    gate.touch()
    status = runner.wait(handle)
    assert status is not None
    assert (status.state, status.msg) == (AppState.SUCCEEDED, "")
    places = set()
    for name in ("train er", "ev'al"):
        for number in (0, 1):
            first, last = log_of(runner, handle, name, number, streams=Stream.STDOUT).splitlines()
            assert first.startswith(f"edited {name} {number} n")
            assert last == "done edited TEXT = 'edited'"
            places.add(first.split()[-1])
    assert places == {"n1", "n2", "n3", "n4"}
    # From another shell, and after the controller has forgotten the job.
    cluster.wait_until(
        lambda: cluster.call("squeue", "-h", "-t", "all", "-j", job_id(handle)).stdout == "", "forgetting"
    )
    shown = topcoat("status", "--json", handle).json
    assert shown["state"] == "SUCCEEDED"
    assert [replica["state_name"] for part in shown["roles"] for replica in part["replicas"]] == ["SUCCEEDED"] * 4
    assert topcoat("log", f"{handle}/ev'al/1").out.count("done edited") == 1
    assert handle in topcoat("list", "-s", "slurm").out
    described = topcoat("describe", "--json", handle).json
    assert [(part["name"], part["num_replicas"]) for part in described["roles"]] == [("train er", 2), ("ev'al", 2)]
    assert described["roles"][0]["args"] == ["show.py", str(gate)]


def test_logs_are_followed_from_before_the_start_and_every_line_comes_once(
    runner: Runner, cluster: Slurm, workspace: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    blocker = cluster.run(
        "sbatch", "--parsable", "--exclusive", "--nodes=4", "--output=/dev/null", "--wrap", "sleep 60"
    )
    cluster.wait_until(lambda: cluster.run("squeue", "-h", "-j", blocker, "-o", "%T") == "RUNNING", "the blocker")
    handle = runner.run(shell(f"echo one; while [ ! -e {gate} ]; do sleep 0.1; done; echo two"), "slurm")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(runner.log_lines(handle, "job", should_tail=True)))
    reader.start()
    reasons = ("it waits for free nodes (Resources)", "other jobs have a higher priority (Priority)")
    cluster.wait_until(lambda: (status := runner.status(handle)) and status.msg in reasons, "the reason")
    assert state_of(runner, handle) is AppState.PENDING
    cluster.run("scancel", blocker)
    cluster.wait_until(lambda: "one\n" in lines, "the first line")
    assert reader.is_alive()
    gate.touch()
    reader.join(30)
    assert lines == ["one\n", "two\n"]


def test_a_failed_node_requeues_a_job_of_two_roles_which_still_runs_its_snapshot(
    runner: Runner, cluster: Slurm, workspace: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    code = Workspace({str(workspace): ""})
    words = ("python3", "show.py", str(gate))
    app = AppDef("pair", [role("a", *words, workspace=code), role("b", *words, workspace=code)])
    handle = runner.run(app, "slurm")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(runner.log_lines(handle, "b", should_tail=True)))
    reader.start()
    cluster.wait_until(lambda: "first b 0" in log_of(runner, handle, "b"), "the first run", poke=True)
    (workspace / "code_under_test.py").write_text("TEXT = 'too late'\n")
    status = runner.status(handle)
    assert status is not None
    node = status.roles[1].replicas[0].hostname
    cluster.fail_node(node)
    try:
        second_run = lambda: log_of(runner, handle, "b").count("first b 0") == 2  # noqa: E731
        cluster.wait_until(second_run, "the second run", 90, poke=True)
        gate.touch()
        status = runner.wait(handle)
    finally:
        cluster.start(node)
    assert status is not None
    assert (status.state, status.num_restarts) == (AppState.SUCCEEDED, 1)
    reader.join(30)
    text = "".join(lines)
    assert text.count("first b 0") == 2
    assert text.count("done first TEXT = 'first'") == 1


def test_a_failed_job_is_requeued_as_often_as_its_retries_say(runner: Runner, cluster: Slurm) -> None:
    handle = runner.run(shell("echo run ${SLURM_RESTART_COUNT:-0}; exit 3", max_retries=1), "slurm")
    status = runner.wait(handle)
    assert status is not None
    assert (status.state, status.num_restarts) == (AppState.FAILED, 1)
    assert status.msg.startswith("job/0 ended with exit code 3 on n")
    log = log_of(runner, handle)
    assert [line for line in log.splitlines() if line.startswith("run")] == ["run 0", "run 1"]
    assert log.count("topcoat: job-0 ended with exit code 3: restart 1 of 1") == 1


def test_the_policy_replica_restarts_the_replica_alone(runner: Runner, cluster: Slurm, tmp_path: Path) -> None:
    script = f"echo run >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) = 3 ]"
    handle = runner.run(shell(script, max_retries=2, retry_policy=RetryPolicy.REPLICA), "slurm")
    status = runner.wait(handle)
    assert status is not None
    assert (status.state, status.num_restarts) == (AppState.SUCCEEDED, 0)


def test_cancel_ends_a_job_with_retries_for_good(runner: Runner, cluster: Slurm, topcoat: Cli, tmp_path: Path) -> None:
    app = AppDef("pair", [role(name, "sleep", "100", max_retries=3) for name in ("a", "b")])
    handle = runner.run(app, "slurm")
    cluster.wait_until(lambda: state_of(runner, handle) is AppState.RUNNING, "the job", poke=True)
    assert topcoat("cancel", handle).code == 0
    runner.wait(handle)
    # Before, only that it was cancelled is known.
    cluster.wait_until(lambda: (status := runner.status(handle)) and status.msg == "cancelled by user 0", "accounting")
    time.sleep(3)
    assert state_of(runner, handle) is AppState.CANCELLED


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "job/0 ended with exit code 3 on n"),
        ("exit 200", "job/0 ended with exit code 200 on n"),
        ("kill -s SEGV $$$$", "job/0 ended with exit code 139 (SIGSEGV) on n"),
        ("exec no-such-program", "job/0 ended with exit code 127 on n"),
    ],
)
def test_the_status_says_how_a_replica_ended(runner: Runner, cluster: Slurm, script: str, words: str) -> None:
    status = runner.wait(runner.run(shell(script), "slurm"))
    assert status is not None
    assert status.state is AppState.FAILED
    assert status.msg.startswith(words)


def test_the_first_replica_that_fails_ends_the_others_and_is_the_one_that_is_named(
    runner: Runner, cluster: Slurm
) -> None:
    app = AppDef("pair", [role("a", "sleep", "100"), role("b", "sh", "-c", "exit 4")])
    handle = runner.run(app, "slurm")
    cluster.wait_until(lambda: state_of(runner, handle) is AppState.FAILED, "the failure", poke=True)
    status = runner.status(handle)
    assert status is not None
    assert status.msg.startswith("b/0 ended with exit code 4 on n")
    # Slurm's own exit code is that of the replica too, not srun's 143.
    cluster.wait_until(
        lambda: cluster.run("sacct", "-nPX", "-j", job_id(handle), "-o", "exitcode").startswith("4:0"), "accounting"
    )


def test_a_missing_snapshot_is_an_error_and_not_a_job_in_tmp(
    runner: Runner, cluster: Slurm, workspace: Path, home: Path
) -> None:
    code = Workspace({str(workspace): ""})
    app = AppDef("job", [role("job", "python3", "show.py", workspace=code)])
    handle = runner.run(app, "slurm", {"sbatch": ["--hold"]})
    (snapshot,) = (home / ".topcoat/jobs").glob("*/code")
    snapshot.rename(snapshot.with_name("moved"))
    cluster.run("scontrol", "release", job_id(handle))
    status = runner.wait(handle)
    assert status is not None
    assert status.state is AppState.FAILED
    assert status.msg.startswith(f"topcoat: the snapshot {snapshot} does not exist on n")
    assert f"the snapshot {snapshot} does not exist" in log_of(runner, handle)


def test_a_held_job_says_who_holds_it(runner: Runner, cluster: Slurm) -> None:
    handle = runner.run(shell("true"), "slurm", {"sbatch": ["--hold"]})
    status = runner.status(handle)
    assert status is not None
    assert status.msg == "its user holds it: scontrol release (JobHeldUser)"


@pytest.mark.skipif("TOPCOAT_SLOW_TESTS" not in os.environ, reason="Slurm's shortest time limit is a minute")
def test_a_time_limit_that_is_reached_is_named(runner: Runner, cluster: Slurm) -> None:
    handle = runner.run(shell("sleep 300"), "slurm", {"time": "0:01", "partition": "short"})
    status = runner.wait(handle)
    assert status is not None
    assert (status.state, status.msg) == (AppState.FAILED, "it reached its time limit")
    assert "DUE TO TIME LIMIT" in log_of(runner, handle)


def test_an_environment_keeps_every_character(runner: Runner, cluster: Slurm) -> None:
    hostile = "a,b=c \"d\" 'e' $HOME `id` ; \\ \n é %j"
    env = {"HOSTILE": hostile, "odd.name": "1", "ID": "${app_id}"}
    script = "import os, sys; print(*map(os.environ.get, ('HOSTILE', 'ID', 'odd.name')), sys.argv[1])"
    app = AppDef("a 'b' \"c\" $d;", [role("ro le;'", "python3", "-c", script, "${replica_id} $HOME '", env=env)])
    handle = runner.run(app, "slurm")
    assert runner.wait(handle).state is AppState.SUCCEEDED  # type: ignore[union-attr]
    assert log_of(runner, handle, "ro le;'") == f"{hostile} {job_id(handle)} 1 0 $HOME '\n"
    assert runner.list("slurm")[0].name == app.name


def test_the_options_reach_slurm(runner: Runner, cluster: Slurm) -> None:
    cfg = {
        "partition": "low",
        "account": "other",
        "qos": "gpu1",
        "time": "1-00:00:00",
        "comment": "q\"u'o $HOME `id` , |",
        "constraint": "local",
        "exclude": "n1",
        "gres": "gpu:1",
        "exclusive": True,
        "sbatch": ["--nice=10 --begin=now+1hour"],
    }
    handle = runner.run(shell("true"), "slurm", cfg)
    shown = cluster.run("scontrol", "show", "job", job_id(handle))
    for text in (
        "Partition=low",
        "Account=other",
        "QOS=gpu1",
        "TimeLimit=1-00:00:00",
        f"Comment={cfg['comment']}",
        "Features=local",
        "ExcNodeList=n1",
        "gres:gpu:1",
        "OverSubscribe=NO",
        "Nice=10",
        "Requeue=1",
        "Reason=BeginTime",
    ):
        assert text in shown


def test_gpus_are_requested_for_each_node(runner: Runner, cluster: Slurm) -> None:
    app = shell("echo $SLURM_GPUS_ON_NODE", resource=Resource(cpu=1, gpu=2, memMB=100), num_replicas=2)
    handle = runner.run(app, "slurm")
    assert runner.wait(handle).state is AppState.SUCCEEDED  # type: ignore[union-attr]
    assert log_of(runner, handle, "job", 1) == "2\n"


@pytest.mark.parametrize(
    ("app", "cfg", "error", "words"),
    [
        (shell("true"), {"partition": "nope"}, InvalidRunConfigException, "unknown partition 'nope'"),
        (shell("true"), {"partition": "short", "time": "5:00"}, InvalidRunConfigException, "allows 0:01:00"),
        (shell("true"), {"time": "soon"}, InvalidRunConfigException, "invalid time 'soon'"),
        (shell("true"), {"account": "nope"}, SchedulerError, "Invalid account"),
        (shell("true"), {"qos": "nope"}, SchedulerError, "Invalid qos"),
        (shell("true"), {"qos": "strict", "gres": "gpu:2"}, SchedulerError, "violates accounting/QOS policy"),
        (shell("true"), {"constraint": "nope"}, SchedulerError, "Invalid feature"),
        (shell("true"), {"nodelist": "nope"}, SchedulerError, "Invalid node name"),
        (shell("true"), {"reservation": "nope"}, SchedulerError, "reservation"),
        (shell("true"), {"sbatch": ["--no-such-option"]}, SchedulerError, "unrecognized option"),
        (shell("true", resource=Resource(cpu=99, gpu=0, memMB=1)), {}, InvalidApp, "requests 99 CPUs"),
        (shell("true", resource=Resource(cpu=1, gpu=9, memMB=1)), {}, InvalidApp, "requests 9 GPUs"),
        (shell("true", resource=Resource(cpu=1, gpu=0, memMB=9999)), {}, InvalidApp, "requests 9999 MiB of memory"),
        (shell("true", num_replicas=5), {}, InvalidApp, "has 5 replicas"),
        (shell("true", num_replicas=3), {"partition": "pairs"}, InvalidApp, "pairs allows at most 2 nodes"),
        (shell("true", num_replicas=4), {"exclude": "n1"}, InvalidApp, "3 such nodes, without those of exclude=n1"),
        (shell("true"), {"nodelist": "n1,n2"}, SchedulerError, "invalid number of nodes"),
        (
            AppDef("job", [role(name, "true", num_replicas=2) for name in "ab"]),
            {"exclude": "n[1,3]"},
            InvalidApp,
            "the roles 'a', 'b' have 4 replicas.* 2 such nodes, without",
        ),
        (AppDef("job", [role(name, "true") for name in "ab"]), {"nodelist": "n1"}, InvalidApp, "roles share no node"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_what_slurm_cannot_run_is_told_at_the_submission_and_leaves_nothing(
    runner: Runner, workspace: Path, home: Path, app: AppDef, cfg: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        runner.run(app, "slurm", cfg, workspace=str(workspace))  # type: ignore[arg-type]
    assert not list((home / ".topcoat/jobs").glob("*"))
    assert [job for job in runner.list("slurm") if job.state in (AppState.PENDING, AppState.RUNNING)] == []


def test_a_retry_with_the_same_job_dir_works_and_another_snapshot_is_refused(
    runner: Runner, cluster: Slurm, workspace: Path, tmp_path: Path
) -> None:
    job_dir = tmp_path / "parent" / "job %j dir"
    app = AppDef("job", [role("job", "python3", "show.py", workspace=Workspace({str(workspace): ""}))])
    cfg = {"job_dir": str(job_dir)}
    for _ in range(2):
        handle = runner.run(app, "slurm", cfg)
        assert runner.wait(handle).state is AppState.SUCCEEDED  # type: ignore[union-attr]
        assert "done first" in log_of(runner, handle)
    (workspace / "code_under_test.py").write_text("TEXT = 'second'\n")
    with pytest.raises(JobDirConflict):
        runner.run(app, "slurm", cfg)
    runner.delete(handle)
    assert (job_dir / "show.py").exists()


def test_delete_removes_the_job_and_its_directory(runner: Runner, cluster: Slurm, workspace: Path, home: Path) -> None:
    app = AppDef("job", [role("job", "sleep", "100", workspace=Workspace({str(workspace): ""}))])
    handle = runner.run(app, "slurm")
    cluster.wait_until(lambda: state_of(runner, handle) is AppState.RUNNING, "the job")
    runner.delete(handle)
    assert state_of(runner, handle) is AppState.CANCELLED
    assert not list((home / ".topcoat/jobs").glob("*"))


def test_forty_jobs_are_submitted_one_after_the_other(runner: Runner, cluster: Slurm, workspace: Path) -> None:
    app = AppDef("sweep", [role("job", "true", workspace=Workspace({str(workspace): ""}))])
    handles = [runner.run(app, "slurm") for _ in range(40)]
    assert len(set(handles)) == 40
    assert set(handles) <= {job.app_handle for job in runner.list("slurm")}


def test_an_id_that_slurm_does_not_know_is_an_unknown_job(cluster: Slurm, topcoat: Cli) -> None:
    for handle in ("slurm://topcoat/99999", "slurm://topcoat/not-a-number"):
        for command in ("status", "log", "cancel", "describe"):
            done = topcoat(command, handle)
            assert done.code == 1
            assert done.error[0] == f"unknown job {handle}"


def test_a_job_that_topcoat_did_not_submit_has_a_status_and_is_not_listed(
    runner: Runner, cluster: Slurm, topcoat: Cli
) -> None:
    job = cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap", "exit 5")
    handle = f"slurm://topcoat/{job}"
    runner.wait(handle)
    cluster.wait_until(lambda: cluster.run("sacct", "-nPX", "-j", job, "-o", "state") == "FAILED", "accounting")
    status = runner.status(handle)
    assert status is not None
    assert (status.state, status.msg) == (AppState.FAILED, "it ended with exit code 5")
    assert handle not in topcoat("list", "-s", "slurm").out
    for command in ("log", "delete"):
        assert topcoat(command, handle).error[0] == f"the job {job} was not submitted by topcoat"


def test_a_job_that_was_submitted_from_a_directory_of_topcoat_is_not_its_own(
    runner: Runner, cluster: Slurm, topcoat: Cli, home: Path
) -> None:
    handle = runner.run(shell("true"), "slurm")
    runner.wait(handle)
    for directory in (home / ".topcoat", home / ".topcoat/jobs"):
        job = cluster.run("sbatch", "--parsable", "-D", str(directory), "--output=/dev/null", "--wrap", "true")
        other = f"slurm://topcoat/{job}"
        assert topcoat("delete", other).error[0] == f"the job {job} was not submitted by topcoat"
        assert other not in topcoat("list", "-s", "slurm").out
        assert cluster.run("squeue", "-h", "-j", job, "-t", "all", "-o", "%T") != "CANCELLED"
    assert (home / ".topcoat/jobs").is_dir()


def test_a_deleted_job_is_not_listed(runner: Runner, cluster: Slurm, topcoat: Cli) -> None:
    kept, deleted = (runner.run(shell("true"), "slurm") for _ in range(2))
    for handle in (kept, deleted):
        runner.wait(handle)
    cluster.wait_until(lambda: deleted in topcoat("list", "-s", "slurm").out, "the accounting")
    runner.delete(deleted)
    listed = topcoat("list", "-s", "slurm").out
    assert kept in listed
    assert f"{deleted} " not in listed


def test_a_controller_that_is_down_is_one_clear_error_and_leaves_nothing(
    runner: Runner, cluster: Slurm, topcoat: Cli, workspace: Path, home: Path
) -> None:
    with get_runner() as other:
        handle = other.run(shell("true"), "slurm")
        other.wait(handle)
    waits = get_runner()
    # Not one that runs: its node would be busy for long when the controller is back.
    waiting = waits.run(shell("true"), "slurm", {"sbatch": ["--begin=now+10"]})
    waited: list[object] = []
    waiter = threading.Thread(target=lambda: waited.append(waits.wait(waiting)))
    waiter.start()
    kept = set((home / ".topcoat/jobs").glob("*"))
    time.sleep(1)
    cluster.stop("controller")
    try:
        done = topcoat("run", "-s", "slurm", "--", "true")
        assert done.code == 1
        assert "Slurm's controller is down" in done.err
        assert "scontrol ping" in done.err
        with pytest.raises(SchedulerError, match="controller is down"):
            runner.run(shell("true"), "slurm")
        assert set((home / ".topcoat/jobs").glob("*")) == kept
        # The accounting still knows jobs that have ended.
        assert topcoat("status", "--json", handle).json["state"] == "SUCCEEDED"
    finally:
        cluster.start("controller")
        for node in ("n1", "n2", "n3", "n4"):
            cluster.wait_until(
                lambda node=node: cluster.run("sinfo", "-h", "-n", node, "-p", "main", "-o", "%T") == "idle",  # type: ignore[misc]
                node,
            )
    # Who waits for a job waits on.
    waiter.join(60)
    assert [status.state for status in waited] == [AppState.SUCCEEDED]  # type: ignore[attr-defined]
    # A process that has seen the failure asks again.
    assert runner.wait(runner.run(shell("true"), "slurm")).state is AppState.SUCCEEDED  # type: ignore[union-attr]


def test_a_controller_that_hangs_is_one_clear_error_and_leaves_nothing(
    runner: Runner, cluster: Slurm, topcoat: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = runner.run(shell("sleep 60"), "slurm")
    kept = set((home / ".topcoat/jobs").glob("*"))
    monkeypatch.setattr(client, "QUERY_TIMEOUT_S", 2.0)
    monkeypatch.setattr(client, "SUBMIT_TIMEOUT_S", 2.0)
    with cluster.hanging_controller():
        for words, message in (
            (["run", "-s", "slurm", "--", "true"], "controller is down, or does not respond: Slurmctld"),
            # Slurm's own limit, or ours, is the first. The accounting does not know this job.
            (["cancel", "slurm://topcoat/99999"], "squeue (failed: Socket timed out|did not respond within 2 s)"),
        ):
            done = topcoat(*words)
            assert done.code == 1
            assert re.search(f"topcoat: error: Slurm's {message}", done.err)
            assert "scontrol ping" in done.err
            assert "Traceback" not in done.err
        assert set((home / ".topcoat/jobs").glob("*")) == kept
    runner.cancel(handle)
    assert runner.wait(handle).state is AppState.CANCELLED  # type: ignore[union-attr]


def test_a_job_directory_that_the_nodes_do_not_see_is_named(runner: Runner, cluster: Slurm, home: Path) -> None:
    handle = runner.run(shell("true"), "slurm", {"sbatch": ["--hold"]})
    # What a node sees if the root is not shared.
    (job,) = (home / ".topcoat/jobs").glob("*")
    job.rename(home / "elsewhere")
    cluster.run("scontrol", "release", job_id(handle))
    status = runner.wait(handle)
    assert status is not None
    assert status.state is AppState.FAILED
    assert "the nodes do not share the file system of job_root" in status.msg


def test_a_command_runs_beside_a_replica_in_its_directory_and_environment(
    runner: Runner, cluster: Slurm, workspace: Path, topcoat: Cli, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    handle = runner.run(two_roles(workspace, gate), "slurm")
    cluster.wait_until(lambda: "first" in log_of(runner, handle, "ev'al", 1), "the replica", poke=True)
    output = tmp_path / "output"
    code = """
import os, sys
names = ("TOPCOAT_ROLE", "TOPCOAT_REPLICA_ID", "SLURMD_NODENAME", "TORCHX_RANK0_HOST")
print(os.getcwd(), *map(os.environ.get, names), file=open(sys.argv[1], "w"))
sys.exit(7)
"""
    scheduler = create_scheduler("topcoat")
    assert scheduler.execute(job_id(handle), "ev'al", 1, ["python3", "-c", code, str(output)]) == 7
    directory, *rest = output.read_text().split()
    assert (Path(directory) / "show.py").exists()
    assert rest == ["ev'al", "1", "n4", "127.0.0.1"]
    gate.touch()
    runner.wait(handle)
    with pytest.raises(SchedulerError, match=r"ev'al/1 of the job \d+ does not run"):
        scheduler.execute(job_id(handle), "ev'al", 1, ["true"])


@pytest.mark.parametrize("ends_first", [False, True])
def test_files_are_copied_out_of_a_replica_and_into_it(
    runner: Runner, cluster: Slurm, workspace: Path, tmp_path: Path, *, ends_first: bool
) -> None:
    script = f"mkdir out; echo result > out/file; ln -s file out/link; echo ready; {'' if ends_first else 'sleep 60'}"
    app = AppDef("job", [role("job", "sh", "-c", script, workspace=Workspace({str(workspace): ""}))])
    handle = runner.run(app, "slurm")
    wanted = AppState.SUCCEEDED if ends_first else AppState.RUNNING
    cluster.wait_until(lambda: state_of(runner, handle) is wanted and log_of(runner, handle) != "", "the job")
    scheduler = create_scheduler("topcoat")
    (tmp_path / "new").write_text("input")
    scheduler.copy_to(job_id(handle), "job", 0, tmp_path / "new", "out/renamed")
    scheduler.copy_to(job_id(handle), "job", 0, tmp_path / "new", "out")
    scheduler.copy_from(job_id(handle), "job", 0, "out", tmp_path / "copied")
    assert (tmp_path / "copied" / "new").read_text() == "input"
    assert (tmp_path / "copied" / "file").read_text() == "result\n"
    assert (tmp_path / "copied" / "renamed").read_text() == "input"
    assert os.readlink(tmp_path / "copied" / "link") == "file"
    scheduler.copy_from(job_id(handle), "job", 0, "out/file", tmp_path / "single")
    assert (tmp_path / "single").read_text() == "result\n"
    with pytest.raises(SchedulerError, match="cannot copy missing of job/0: tar: missing"):
        scheduler.copy_from(job_id(handle), "job", 0, "missing", tmp_path / "x")
    assert not list(tmp_path.glob(".topcoat-*"))


def test_files_that_a_job_wrote_are_named_and_delete_asks_first(
    runner: Runner, cluster: Slurm, workspace: Path, topcoat: Cli, home: Path
) -> None:
    app = AppDef(
        "job", [role("job", "sh", "-c", "echo x > result; echo >> show.py", workspace=Workspace({str(workspace): ""}))]
    )
    handle = runner.run(app, "slurm")
    runner.wait(handle)
    outputs = runner.outputs(handle)
    assert outputs is not None
    assert (list(outputs.files), outputs.are_deleted) == (["result", "show.py"], True)
    done = topcoat("delete", handle)
    assert done.code == 1
    assert "2 files of the job" in done.error[0]
    assert topcoat("delete", "--force", handle).code == 0
    assert not list((home / ".topcoat/jobs").glob("*"))


def test_list_says_when_a_job_was_submitted(runner: Runner, cluster: Slurm) -> None:
    handle = runner.run(shell("true"), "slurm")
    job = next(job for job in runner.list("slurm") if job.app_handle == handle)
    assert job.created is not None
    assert abs(job.created.timestamp() - time.time()) < 60


def test_of_jobs_submitted_in_one_second_the_newest_is_listed_first(runner: Runner, cluster: Slurm) -> None:
    handles = [runner.run(shell("true"), "slurm", {"sbatch": ["--hold"]}) for _ in range(4)]
    assert [job.app_handle for job in runner.list("slurm")[:4]] == handles[::-1]
    for handle in handles:
        runner.cancel(handle)


def test_torchrun_reduces_between_two_nodes_and_two_jobs_share_them(
    runner: Runner, cluster: Slurm, workspace: Path, torchrun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "reduce.py").write_text(
        "import torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "number = torch.ones(1) * (dist.get_rank() + 1)\n"
        "dist.all_reduce(number)\n"
        "print('the sum is', int(number.item()), flush=True)\n"
    )
    monkeypatch.setenv("PATH", str(torchrun), prepend=":")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    args = ["-j", "2x2", "--cpu", "1", "--memMB", "400", "--script", "reduce.py"]
    cfg = {"nodelist": "n1,n2"}
    handles = [runner.run_component("dist.ddp", args, "slurm", cfg, str(workspace)) for _ in range(2)]
    for handle in handles:
        status = runner.wait(handle)
        text = "".join(log_of(runner, handle, "reduce", number) for number in (0, 1))
        assert status is not None
        assert (status.state, text.count("the sum is 10")) == (AppState.SUCCEEDED, 4), text


def test_a_container_of_slurm_runs_the_snapshot_over_a_base_that_stays_as_it_is(
    runner: Runner, cluster: Slurm, workspace: Path, bundle: Path
) -> None:
    before = sorted(bundle.rglob("*"))
    script = (
        "pwd; cat code_under_test.py; echo $WORKSPACE_DIR $BASE $TOPCOAT_REPLICA_ID; touch written; "
        "exit $TOPCOAT_REPLICA_ID"
    )
    cfg = {"container": "oci"}
    app = AppDef("pair", [role("job", "sh", "-c", script, image=str(bundle), num_replicas=2)])
    handle = runner.run(app, "slurm", cfg, str(workspace))
    (workspace / "code_under_test.py").write_text("TEXT = 'too late'\n")
    cluster.wait_until(lambda: state_of(runner, handle) is AppState.FAILED, "the job", poke=True)
    for number in (0, 1):
        assert log_of(runner, handle, "job", number, streams=Stream.STDOUT).splitlines() == [
            "/workspace",
            "TEXT = 'first'",
            f"/workspace 1 {number}",
        ]
    status = runner.status(handle)
    assert status is not None
    assert status.msg.startswith("job/1 ended with exit code 1 on n")
    assert sorted(bundle.rglob("*")) == before
    outputs = runner.outputs(handle)
    assert outputs is not None
    assert list(outputs.files) == ["written"]


def test_a_container_is_refused_if_the_cluster_would_ignore_it(
    runner: Runner, cluster: Slurm, bundle: Path, home: Path
) -> None:
    conf = cluster.directory / "oci.conf"
    moved = conf.rename(conf.with_name("oci.conf.moved"))
    try:
        app = AppDef("job", [role("job", "true", image=str(bundle))])
        with pytest.raises(SchedulerError, match=r"this cluster has no oci\.conf"):
            runner.run(app, "slurm", {"container": "oci"})
        with pytest.raises(SchedulerError, match="this cluster has no pyxis"):
            runner.run(app, "slurm", {"container": "pyxis"})
    finally:
        moved.rename(conf)
    assert not list((home / ".topcoat/jobs").glob("*"))


def test_a_cluster_without_accounting_leaves_the_job_to_its_directory(
    runner: Runner, cluster: Slurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handles = [runner.run(shell(f"echo hello; exit {code}"), "slurm") for code in (0, 3)]
    for handle in handles:
        runner.wait(handle)

    def forgotten() -> bool:
        return not any(cluster.call("squeue", "-h", "-t", "all", "-j", job_id(handle)).stdout for handle in handles)

    cluster.wait_until(forgotten, "forgetting")
    (tmp_path / "sacct").write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    first, second = map(runner.status, handles)
    assert first is not None
    assert second is not None
    assert (first.state, first.msg) == (AppState.SUCCEEDED, "")
    assert second.state is AppState.FAILED
    assert second.msg.startswith("job/0 ended with exit code 3 on n")
    assert log_of(runner, handles[1]).startswith("hello\n")
    assert runner.status("slurm://topcoat/99999") is None


def test_an_interactive_job_runs_in_a_terminal(runner: Runner, cluster: Slurm, workspace: Path) -> None:
    (workspace / "ask.py").write_text("print('you said', input('name? '), __import__('sys').stdin.isatty())\n")
    app = AppDef("job", [role("job", "python3", "ask.py", workspace=Workspace({str(workspace): ""}))])
    handle = runner.run(app, "slurm", {"interactive": True})
    code = (
        "import sys; from topcoat.schedulers.slurm.scheduler import create_scheduler\n"
        "create_scheduler('topcoat').attach(*sys.argv[1:], 0)"
    )
    terminal = pexpect.spawn(sys.executable, ["-c", code, job_id(handle), "job"], encoding="utf-8", timeout=60)
    terminal.expect("name\\? ")
    terminal.sendline("topcoat")
    terminal.expect("you said topcoat True")
    terminal.expect(pexpect.EOF)
    status = runner.wait(handle)
    assert status is not None
    assert status.state is AppState.SUCCEEDED


def test_only_an_interactive_job_has_a_terminal(runner: Runner, cluster: Slurm, tmp_path: Path) -> None:
    handle = runner.run(shell("sleep 60"), "slurm")
    with pytest.raises(UsageError, match="has no terminal"):
        create_scheduler("topcoat").attach(job_id(handle), "job", 0)
    with pytest.raises(InvalidApp, match="one replica"):
        runner.run(shell("true", num_replicas=2), "slurm", {"interactive": True})


def test_a_delivery_that_fails_leaves_no_code_of_other_roles(
    runner: Runner, workspace: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("x")
    code, deliver = [Workspace({str(path): ""}) for path in (workspace, other)], DirectoryDestination.deliver

    def fail(self: DirectoryDestination, scan: Scan, key: str) -> bool:
        if self.path.endswith("/b"):
            raise DestinationError("no space")
        return deliver(self, scan, key)

    monkeypatch.setattr(DirectoryDestination, "deliver", fail)
    app = AppDef("job", [role(name, "true", workspace=each) for name, each in zip("ab", code, strict=True)])
    with pytest.raises(DestinationError, match="no space"):
        runner.run(app, "slurm")
    assert not list((home / ".topcoat/jobs").glob("*"))


def test_a_cancelled_replica_has_time_to_end(runner: Runner, cluster: Slurm, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    app = shell(f"trap 'sleep 0.5; touch {saved}; exit 0' TERM; touch {tmp_path}/began; sleep 60 & wait")
    handle = runner.run(app, "slurm")
    cluster.wait_until((tmp_path / "began").exists, "the job")
    runner.cancel(handle)
    runner.wait(handle)
    cluster.wait_until(saved.exists, "the end of the replica", timeout=10)


def test_a_term_before_the_end_reaches_the_replica(runner: Runner, cluster: Slurm, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    app = shell(f"trap 'sleep 2; touch {saved}; exit 0' TERM; touch {tmp_path}/began; sleep 60 & wait")
    handle = runner.run(app, "slurm")
    cluster.wait_until((tmp_path / "began").exists, "the job")
    # As --signal=B:TERM does.
    cluster.run("scancel", "--batch", "--signal=TERM", job_id(handle))
    cluster.wait_until(saved.exists, "the signal", timeout=20)
    assert runner.wait(handle).state is AppState.SUCCEEDED  # type: ignore[union-attr]
