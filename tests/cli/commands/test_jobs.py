"""``status``, ``cancel``, ``delete``, ``list`` and ``describe``: commands that take handles, from any shell."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.commands.conftest import SCRIPT
from tests.cli.conftest import Cli
from topcoat.runner import journal
from topcoat.specs import AppDef

UNKNOWN = "local://topcoat/no-such"


def test_status_is_printed_from_another_process(topcoat: Cli, ended_job: str) -> None:
    result = topcoat("status", ended_job)
    assert (result.code, result.err) == (0, "")
    assert "State: SUCCEEDED" in result.out
    assert "job[1]:SUCCEEDED" in result.out


def test_status_prints_json(cli: Cli, ended_job: str, running_job: str) -> None:
    result = cli("status", "--json", ended_job).json
    assert (result["handle"], result["state"]) == (ended_job, "SUCCEEDED")
    assert [replica["id"] for replica in result["roles"][0]["replicas"]] == [0, 1]
    assert (result["scheduler"], result["app_id"]) == ("local", ended_job.rpartition("/")[2])
    assert result["url"] == result["ui_url"]
    assert cli("status", "--json", "--roles", "other", ended_job).json["roles"] == []
    assert cli("status", "--json", running_job).json["state"] == "RUNNING"


def test_a_replicas_state_has_its_name_beside_the_number_that_torchx_prints(
    cli: Cli, ended_job: str, running_job: str
) -> None:
    def states(handle: str) -> list[tuple[int, str]]:
        replicas = cli("status", "--json", handle).json["roles"][0]["replicas"]
        return [(replica["state"], replica["state_name"]) for replica in replicas]

    assert states(ended_job) == [(4, "SUCCEEDED")] * 2
    assert states(running_job) == [(3, "RUNNING")]


def test_status_of_a_failed_job_succeeds(cli: Cli, workspace: Path) -> None:
    handle = cli("run", "--", "false").out.strip()
    assert cli("status", handle).code == 0


def test_cancel_ends_a_job_and_does_nothing_to_an_ended_one(cli: Cli, ended_job: str, running_job: str) -> None:
    assert cli("cancel", ended_job, running_job) == (0, "", "")
    assert cli("run", "--json", "--", "true").code == 0
    deadline = time.monotonic() + 20
    while cli("status", "--json", running_job).json["state"] != "CANCELLED":
        assert time.monotonic() < deadline
    assert cli("status", "--json", ended_job).json["state"] == "SUCCEEDED"


def test_delete_leaves_nothing_of_a_job(cli: Cli, ended_job: str, running_job: str, home: Path) -> None:
    assert cli("delete", ended_job, running_job) == (0, "", "")
    assert cli("status", ended_job).code == 1
    assert list((home / ".local" / "state" / "topcoat" / "jobs").iterdir()) == []


def test_list_has_every_job_of_a_scheduler(cli: Cli, ended_job: str, running_job: str) -> None:
    result = cli("list")
    header, *rows = [line.split() for line in result.out.splitlines()]
    assert header == ["NAME", "STATE", "AGE", "DURATION", "SCHEDULER", "SIZE", "JOB"]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("sh", "RUNNING", running_job.rpartition("/")[2]),
        ("job", "SUCCEEDED", ended_job.rpartition("/")[2]),
    ]
    assert cli("list", "-s", "local_cwd").out == "NAME  STATE  AGE  DURATION  SCHEDULER  SIZE  JOB\n"
    jobs = cli("list", "--json").json["jobs"]
    assert [(job["handle"], job["state"], job["name"]) for job in jobs] == [
        (running_job, "RUNNING", "sh"),
        (ended_job, "SUCCEEDED", "job"),
    ]
    assert [job["ended"] is None for job in jobs] == [True, False]
    assert all(job["duration_s"] > 0 and job["size"] > 0 and job["scheduler"] == "local" for job in jobs)


def test_list_has_the_jobs_of_every_scheduler_that_was_used(cli: Cli, workspace: Path) -> None:
    local = cli("run", "--", "true").out.strip()
    in_place = cli("run", "-s", "local_cwd", "--", "true").out.strip()
    assert [job["handle"] for job in cli("list", "--json").json["jobs"]] == [in_place, local]
    assert cli("list", "-s", "local", "--json").json["scheduler"] == "local"
    assert "-cfg needs -s" in cli("list", "-cfg", "log_dir=x").err


def test_a_scheduler_that_cannot_list_does_not_hide_the_jobs_of_the_others(
    cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = cli("run", "--", "true").out.strip()
    journal.record("local_docker://topcoat/x", AppDef("x"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    done = cli("list", "--json")
    assert [job["handle"] for job in done.json["jobs"]] == [local]
    assert "the jobs of local_docker are missing here" in done.err


def test_describe_prints_the_definition_of_a_job(cli: Cli, ended_job: str) -> None:
    result = cli("describe", ended_job).out
    assert "role job\n" in result
    assert f"  command: sh -c '{SCRIPT}'\n" in result
    assert "  replicas: 2\n" in result
    assert "    A=1\n" in result
    role = cli("describe", "--json", ended_job).json["roles"][0]
    assert (role["name"], role["num_replicas"], role["env"]["A"]) == ("job", 2, "1")


def test_describe_replaces_the_macros_that_all_replicas_share(cli: Cli, workspace: Path) -> None:
    macros = "${app_id} ${replica_id} ${img_root} $$${rank0_env}"
    handle = cli("run", "--env", f"M={macros}", "--", "true").out.strip()
    env = cli("describe", "--json", handle).json["roles"][0]["env"]
    app_id = handle.rpartition("/")[2]
    assert env["TORCHX_JOB_ID"] == handle
    first, second, root, rank0 = env["M"].split(" ")
    assert (first, second, rank0) == (app_id, "${replica_id}", "$TORCHX_RANK0_HOST")
    assert Path(root).is_dir()


@pytest.mark.parametrize("command", ["status", "log", "cancel", "delete", "describe"])
def test_an_unknown_job_is_an_error(cli: Cli, command: str) -> None:
    result = cli(command, UNKNOWN)
    assert (result.code, result.out) == (1, "")
    assert result.error == (f"unknown job {UNKNOWN}", "topcoat list -s local")


@pytest.mark.parametrize("command", ["status", "log", "cancel", "delete", "describe"])
@pytest.mark.parametrize("handle", ["local://topcoat/", "local://x", "://x/y", ""])
def test_an_invalid_handle_is_wrong_usage(cli: Cli, command: str, handle: str) -> None:
    result = cli(command, handle)
    assert result.code == 2
    assert result.error[1].startswith("topcoat list shows ")


def test_an_unknown_scheduler_in_a_handle_is_named(cli: Cli) -> None:
    result = cli("status", "slurmm://x/1")
    assert result.code == 2
    assert result.error[0] == "unknown scheduler 'slurmm'"
