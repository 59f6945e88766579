from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.schedulers.local.test_supervisor import replica as spec
from topcoat.schedulers.local.replica import Replica


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "w" / "0").mkdir(parents=True)
    return tmp_path


def test_the_last_output_is_in_the_logs(logs: Path) -> None:
    replica = Replica(spec(logs, "sh", "-c", "printf %40000s x; printf last >&2"))
    replica.launch()
    assert replica._process is not None
    os.waitid(os.P_PID, replica._process.pid, os.WEXITED | os.WNOWAIT)
    assert replica.poll()
    replica.close()
    assert (logs / "w/0/stdout.log").stat().st_size == 40_000
    assert (logs / "w/0/stderr.log").read_text() == "last"
    assert (logs / "w/0/combined.log").stat().st_size == 40_004


def test_an_unfinished_last_line_is_not_joined_with_the_other_output(logs: Path) -> None:
    replica = Replica(spec(logs, "sh", "-c", "printf last; echo error >&2"))
    replica.launch()
    assert replica._process is not None
    os.waitid(os.P_PID, replica._process.pid, os.WEXITED | os.WNOWAIT)
    assert replica.poll()
    replica.close()
    assert (logs / "w/0/combined.log").read_text() == "error\nlast"


def test_facts_name_the_process_while_it_runs(logs: Path) -> None:
    replica = Replica(spec(logs, "sleep", "60"))
    before = dict.fromkeys(("exit_code", "pid", "start", "started_at", "ended_at"))
    assert replica.facts() == {"role": "w", "id": 0, "state": "PENDING", **before}
    replica.launch()
    facts = replica.facts()
    assert (facts["state"], facts["exit_code"]) == ("RUNNING", None)
    assert facts["pid"]
    assert facts["start"]
    replica.terminate()
    os.waitid(os.P_PID, facts["pid"], os.WEXITED | os.WNOWAIT)
    assert replica.poll()
    replica.close()
    replica.close()
    assert (replica.facts()["pid"], replica.facts()["exit_code"]) == (None, -15)


def test_a_replica_is_asked_to_end_once(logs: Path) -> None:
    replica = Replica(spec(logs, "sh", "-c", "trap 'echo asked' TERM; echo up; sleep 60 & wait; wait"), grace=60)
    replica.launch()
    while not replica.streams[0].read() or (logs / "w/0/stdout.log").read_text() != "up\n":
        pass
    replica.terminate()
    deadline = replica.next_deadline()
    replica.terminate()
    assert replica.next_deadline() == deadline
    assert replica.terminating
    assert replica._process is not None
    os.killpg(replica._process.pid, 9)
    replica._process.wait()
    assert replica.poll()
    replica.close()


@pytest.mark.parametrize("program", ["true", "no-such-program"])
def test_facts_hold_when_the_last_process_started_and_ended(logs: Path, program: str) -> None:
    replica = Replica(spec(logs, program))
    times = [time.time()]
    for _ in range(2):
        replica.launch()
        if replica._process is not None:
            assert replica.facts()["ended_at"] is None
            replica._process.wait()
        replica.poll()
        replica.close()
        times += [replica.facts()["started_at"], replica.facts()["ended_at"]]
    assert times == sorted(times)
