"""``status``, ``log``, ``cancel``, ``delete``, ``list`` and ``describe`` ask about jobs, from any shell."""

from __future__ import annotations

import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from topcoat.cli.commands.log import parse_identifier, parse_time
from topcoat.errors import InvalidHandle, UsageError

UNKNOWN = "local://topcoat/no-such"
PRINTS = "echo out $TOPCOAT_REPLICA_ID; echo err $TOPCOAT_REPLICA_ID >&2"


@pytest.fixture
def done(cli: Cli, workspace: Path) -> str:
    """The handle of a job of two replicas that has ended."""
    return cli("run", "--name", "job", "--num-replicas", "2", "--env", "A=1", "--", "sh", "-c", PRINTS).out.strip()


@pytest.fixture
def running(cli: Cli, workspace: Path) -> str:
    """The handle of a job that goes on for long."""
    return cli("run", "--detach", "--", "sh", "-c", "echo started; exec sleep 300").out.strip()


def test_status_is_printed_from_another_process(topcoat: Cli, done: str) -> None:
    found = topcoat("status", done)
    assert (found.code, found.err) == (0, "")
    assert "State: SUCCEEDED" in found.out
    assert "job[1]:SUCCEEDED" in found.out


def test_status_as_json(cli: Cli, done: str, running: str) -> None:
    found = cli("status", "--json", done).json
    assert (found["handle"], found["state"]) == (done, "SUCCEEDED")
    assert [replica["id"] for replica in found["roles"][0]["replicas"]] == [0, 1]
    assert (found["scheduler"], found["app_id"]) == ("local", done.rpartition("/")[2])
    assert found["url"] == found["ui_url"]
    assert cli("status", "--json", "--roles", "other", done).json["roles"] == []
    assert cli("status", "--json", running).json["state"] == "RUNNING"


def test_a_replicas_state_has_its_name_beside_the_number_that_torchx_prints(cli: Cli, done: str, running: str) -> None:
    def states(handle: str) -> list[tuple[int, str]]:
        replicas = cli("status", "--json", handle).json["roles"][0]["replicas"]
        return [(replica["state"], replica["state_name"]) for replica in replicas]

    assert states(done) == [(4, "SUCCEEDED")] * 2
    assert states(running) == [(3, "RUNNING")]


def test_status_of_a_failed_job_succeeds(cli: Cli, workspace: Path) -> None:
    handle = cli("run", "--", "false").out.strip()
    assert cli("status", handle).code == 0


def test_cancel_ends_a_job_and_does_nothing_to_an_ended_one(cli: Cli, done: str, running: str) -> None:
    assert cli("cancel", done, running) == (0, "", "")
    assert cli("run", "--json", "--", "true").code == 0
    deadline = time.monotonic() + 20
    while cli("status", "--json", running).json["state"] != "CANCELLED":
        assert time.monotonic() < deadline
    assert cli("status", "--json", done).json["state"] == "SUCCEEDED"


def test_delete_leaves_nothing_of_a_job(cli: Cli, done: str, running: str, home: Path) -> None:
    assert cli("delete", done, running) == (0, "", "")
    assert cli("status", done).code == 1
    assert list((home / ".local" / "state" / "topcoat" / "jobs").iterdir()) == []


def test_list_has_every_job_of_a_scheduler(cli: Cli, done: str, running: str) -> None:
    found = cli("list")
    assert [line.split() for line in found.out.splitlines()] == [
        ["HANDLE", "STATE", "NAME"],
        [running, "RUNNING", "sh"],
        [done, "SUCCEEDED", "job"],
    ]
    assert cli("list", "-s", "local_cwd").out == "HANDLE  STATE  NAME\n"
    assert cli("list", "--json").json == {
        "scheduler": "local",
        "jobs": [
            {"handle": running, "state": "RUNNING", "name": "sh"},
            {"handle": done, "state": "SUCCEEDED", "name": "job"},
        ],
    }


def test_list_takes_the_configured_scheduler(cli: Cli, workspace: Path) -> None:
    (workspace / ".torchxconfig").write_text("[cli:run]\nscheduler = local_cwd\n")
    assert cli("list", "--json").json["scheduler"] == "local_cwd"


def test_describe_prints_the_definition_of_a_job(cli: Cli, done: str) -> None:
    found = cli("describe", done).out
    assert "role job\n" in found
    assert f"  command: sh -c '{PRINTS}'\n" in found
    assert "  replicas: 2\n" in found
    assert "    A=1\n" in found
    role = cli("describe", "--json", done).json["roles"][0]
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


def test_log_prints_replicas_one_after_the_other(cli: Cli, done: str) -> None:
    assert cli("log", done).out == "job/0 out 0\njob/0 err 0\njob/1 out 1\njob/1 err 1\n"
    assert cli("log", f"{done}/job").out == cli("log", done).out
    assert cli("log", f"{done}/job/1").out == "out 1\nerr 1\n"
    assert cli("log", f"{done}/job/1,0").out == cli("log", done).out


def test_log_can_be_narrowed_down(cli: Cli, done: str) -> None:
    assert cli("log", "--streams", "stdout", f"{done}/job/0").out == "out 0\n"
    assert cli("log", "--streams", "stderr", f"{done}/job/0").out == "err 0\n"
    assert cli("log", "--regex", "err", f"{done}/job/0").out == "err 0\n"
    assert cli("log", "--since", "1h", f"{done}/job/0").out == "out 0\nerr 0\n"
    assert cli("log", "--until", "1h", f"{done}/job/0").out == ""


@pytest.mark.parametrize("flag", ["-f", "--follow", "-t", "--tail"])
def test_log_follows_a_job_to_its_end(cli: Cli, workspace: Path, flag: str) -> None:
    program = "import time\nfor number in range(5):\n    print(number, flush=True)\n    time.sleep(0.1)"
    handle = cli("run", "--detach", "--", sys.executable, "-c", program).out.strip()
    assert cli("log", flag, handle).out == "0\n1\n2\n3\n4\n"


def test_log_prints_the_output_so_far_of_a_running_job(cli: Cli, running: str) -> None:
    deadline = time.monotonic() + 20
    while cli("log", running).out != "started\n":
        assert time.monotonic() < deadline
    cancel = threading.Timer(0.3, lambda: cli("cancel", running))
    cancel.start()
    cancel.join()


@pytest.mark.parametrize("command", ["status", "log", "cancel", "delete", "describe"])
def test_an_unknown_job_is_an_error(cli: Cli, command: str) -> None:
    found = cli(command, UNKNOWN)
    assert (found.code, found.out) == (1, "")
    assert found.error == (f"unknown job {UNKNOWN}", "topcoat list -s local")


@pytest.mark.parametrize("command", ["status", "log", "cancel", "delete", "describe"])
@pytest.mark.parametrize("handle", ["job", "local:/topcoat/x", "local://topcoat/", "local://x", ""])
def test_an_invalid_handle_is_wrong_usage(cli: Cli, command: str, handle: str) -> None:
    found = cli(command, handle)
    assert found.code == 2
    assert found.error[1] == "topcoat list shows the handles of your jobs"


def test_an_unknown_scheduler_in_a_handle_is_named(cli: Cli) -> None:
    found = cli("status", "slurmm://x/1")
    assert found.code == 2
    assert found.error[0] == "unknown scheduler 'slurmm'"


@pytest.mark.parametrize(
    ("rest", "message", "hint"),
    [
        ("/jobb", "has no role 'jobb'", "it has job/0, job/1"),
        ("/job/2", "has no replica 2", "it has job/0, job/1"),
        ("/job/0,x", "expected scheduler://session/app_id[/role[/k,k]]", "topcoat list"),
    ],
)
def test_an_unknown_replica_is_wrong_usage(cli: Cli, done: str, rest: str, message: str, hint: str) -> None:
    found = cli("log", done + rest)
    assert found.code == 2
    assert message in found.error[0]
    assert found.error[1].startswith(hint)


def test_an_invalid_regex_is_wrong_usage(cli: Cli, done: str) -> None:
    found = cli("log", "--regex", "(", done)
    assert found.code == 2
    assert found.error[0].startswith("invalid regular expression '('")


@pytest.mark.parametrize(
    ("identifier", "parsed"),
    [
        ("local://topcoat/app", ("local://topcoat/app", [], [])),
        ("local:///app", ("local:///app", [], [])),
        ("kubernetes://s/ns:app/worker", ("kubernetes://s/ns:app", ["worker"], [])),
        ("x://s/app/a,b", ("x://s/app", ["a", "b"], [])),
        ("x://s/app/a/0,2", ("x://s/app", ["a"], [0, 2])),
    ],
)
def test_identifiers(identifier: str, parsed: tuple[str, list[str], list[int]]) -> None:
    assert parse_identifier(identifier) == parsed


@pytest.mark.parametrize("identifier", ["app", "x://app", "x://s/app/a/b", "x://s/app/a/0/1", "x://s/a b", "://s/app"])
def test_invalid_identifiers(identifier: str) -> None:
    with pytest.raises(InvalidHandle):
        parse_identifier(identifier)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400)])
def test_times_can_be_durations(text: str, seconds: int) -> None:
    found = parse_time("--since", text)
    assert found is not None
    assert abs(datetime.now() - timedelta(seconds=seconds) - found) < timedelta(seconds=5)


def test_times_can_be_dates() -> None:
    assert parse_time("--since", "2030-01-31T12:00") == datetime(2030, 1, 31, 12)
    assert parse_time("--since", "2030-01-31 12:00:05Z") == datetime(2030, 1, 31, 12, 0, 5, tzinfo=timezone.utc)
    assert parse_time("--since", None) is None


@pytest.mark.parametrize("text", ["yesterday", "10", "m", "-1h", "", "1e999d", "2030-13-01"])
def test_invalid_times(text: str) -> None:
    with pytest.raises(UsageError, match="invalid --since value"):
        parse_time("--since", text)
