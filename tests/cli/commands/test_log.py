from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from topcoat.cli.commands.log import parse_time
from topcoat.cli.job_names import find_job_path
from topcoat.errors import InvalidHandle, UsageError


def test_log_prints_replicas_one_after_the_other(cli: Cli, ended_job: str) -> None:
    assert cli("log", ended_job).out == "job/0 out 0\njob/0 err 0\njob/1 out 1\njob/1 err 1\n"
    assert cli("log", f"{ended_job}/job").out == cli("log", ended_job).out
    assert cli("log", f"{ended_job}/job/1").out == "out 1\nerr 1\n"
    assert cli("log", f"{ended_job}/job/1,0").out == cli("log", ended_job).out


def test_log_can_be_narrowed_down(cli: Cli, ended_job: str) -> None:
    assert cli("log", "--streams", "stdout", f"{ended_job}/job/0").out == "out 0\n"
    assert cli("log", "--streams", "stderr", f"{ended_job}/job/0").out == "err 0\n"
    assert cli("log", "--regex", "err", f"{ended_job}/job/0").out == "err 0\n"
    assert cli("log", "--since", "1h", f"{ended_job}/job/0").out == "out 0\nerr 0\n"
    assert cli("log", "--until", "1h", f"{ended_job}/job/0").out == ""


@pytest.mark.parametrize("flag", ["-f", "--follow", "-t", "--tail"])
def test_log_follows_a_job_to_its_end(cli: Cli, workspace: Path, flag: str) -> None:
    program = "import time\nfor number in range(5):\n    print(number, flush=True)\n    time.sleep(0.1)"
    handle = cli("run", "--detach", "--", sys.executable, "-c", program).out.strip()
    assert cli("log", flag, handle).out == "0\n1\n2\n3\n4\n"


def test_log_prints_the_output_so_far_of_a_running_job(cli: Cli, running_job: str) -> None:
    deadline = time.monotonic() + 20
    while cli("log", running_job).out != "started\n":
        assert time.monotonic() < deadline
    cli("cancel", running_job)


@pytest.mark.parametrize(
    ("rest", "message", "hint"),
    [
        ("/jobb", "has no role 'jobb'", "it has job/0, job/1"),
        ("/job/2", "has no replica 2", "it has job/0, job/1"),
        ("/job/0,x", "invalid replica '0,x'", "JOB/ROLE/0"),
    ],
)
def test_an_unknown_replica_is_wrong_usage(cli: Cli, ended_job: str, rest: str, message: str, hint: str) -> None:
    result = cli("log", ended_job + rest)
    assert result.code == 2
    assert message in result.error[0]
    assert result.error[1].startswith(hint)


def test_an_invalid_regex_is_wrong_usage(cli: Cli, ended_job: str) -> None:
    result = cli("log", "--regex", "(", ended_job)
    assert result.code == 2
    assert result.error[0].startswith("invalid regular expression '('")


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
def test_an_identifier_is_parsed(identifier: str, parsed: tuple[str, list[str], list[int]]) -> None:
    assert find_job_path(identifier) == parsed


@pytest.mark.parametrize("identifier", ["x://app", "x://s/app/a/0/1", "x://s/a b", "://s/app"])
def test_an_invalid_identifier_is_an_error(identifier: str) -> None:
    with pytest.raises(InvalidHandle):
        find_job_path(identifier)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400)])
def test_times_can_be_durations(text: str, seconds: int) -> None:
    result = parse_time("--since", text)
    assert result is not None
    assert abs(datetime.now() - timedelta(seconds=seconds) - result) < timedelta(seconds=5)


def test_times_can_be_dates() -> None:
    assert parse_time("--since", "2030-01-31T12:00") == datetime(2030, 1, 31, 12)
    assert parse_time("--since", "2030-01-31 12:00:05Z") == datetime(2030, 1, 31, 12, 0, 5, tzinfo=timezone.utc)
    assert parse_time("--since", None) is None


@pytest.mark.parametrize("text", ["yesterday", "10", "m", "-1h", "", "1e999d", "2030-13-01"])
def test_an_invalid_time_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="invalid --since value"):
        parse_time("--since", text)
