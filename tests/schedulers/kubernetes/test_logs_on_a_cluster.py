"""Logs of a real cluster: every line once."""

from __future__ import annotations

import itertools
import threading
from datetime import datetime, timedelta, timezone

from tests.components.images import Pushed
from tests.schedulers.kubernetes.conftest import Jobs, wait
from tests.support.notices import recorded_notices
from topcoat.specs import AppState, RetryPolicy, Role

# 1,000 lines a second, which the node rotates every few seconds (200 KiB).
COUNTING = """
import time
start = time.monotonic()
for i in range(8000):
    print(i, "x" * 60, flush=True)
    if i % 10 == 9:
        time.sleep(max(0, start + (i + 1) / 1000 - time.monotonic()))
"""


class Follower:
    """Follow a log in a thread."""

    def __init__(self, jobs: Jobs, handle: str, role: str = "trainer", replica: int = 0) -> None:
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._follow, args=(jobs, handle, role, replica))
        self._thread.start()

    def _follow(self, jobs: Jobs, handle: str, role: str, replica: int) -> None:
        for line in jobs.runner.log_lines(handle, role, replica, should_tail=True):
            self.lines.append(line)

    def end(self) -> list[str]:
        self._thread.join(90)
        assert not self._thread.is_alive()
        return self.lines


def python(base: Pushed, program: str) -> Role:
    return Role("trainer", base.reference, entrypoint="python3", args=["-u", "-c", program.replace("$", "$$")])


def test_a_follower_from_before_the_pod_gets_every_line_once_across_rotations(
    on_cluster: Jobs, python_base: Pushed
) -> None:
    handle = on_cluster.submit(python(python_base, COUNTING), reserved_memmb=0)
    with recorded_notices() as notices:
        lines = Follower(on_cluster, handle).end()
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, 7999)
    # The kubelet does not send what is written while it changes files; then a message says so.
    gaps = [after for before, after in itertools.pairwise(numbers) if after != before + 1]
    assert len(gaps) <= len([notice for notice in notices if "has rotated the log" in notice])
    # The node serves its newest file alone.
    rest = list(on_cluster.runner.log_lines(handle, "trainer", 0))
    assert rest == lines[len(lines) - len(rest) :]
    assert len(rest) < len(lines)


def test_a_restart_of_the_api_server_loses_neither_a_line_nor_a_request(on_cluster: Jobs) -> None:
    script = "i=0; while [ $i -lt 120 ]; do echo $i; i=$((i+1)); sleep 0.1; done"
    handle = on_cluster.submit(on_cluster.role(script))
    follower = Follower(on_cluster, handle)
    on_cluster.wait(handle, AppState.RUNNING)
    submitted: list[str] = []
    with on_cluster.cluster.api_server_down():
        thread = threading.Thread(target=lambda: submitted.append(on_cluster.submit(on_cluster.role("echo late"))))
        thread.start()
    thread.join(60)
    assert follower.end() == [f"{i}\n" for i in range(120)]
    assert on_cluster.wait(handle).state is AppState.SUCCEEDED
    assert on_cluster.log(submitted[0]) == ["late\n"]


def test_a_log_has_the_lines_of_failed_attempts_first(on_cluster: Jobs) -> None:
    role = on_cluster.role("echo begun; exit 3", replicas=2, max_retries=1, retry_policy=RetryPolicy.REPLICA)
    handle = on_cluster.submit(role)
    assert on_cluster.log(handle) == ["begun\n", "begun\n"]
    status = on_cluster.wait(handle)
    assert (status.state, status.num_restarts) == (AppState.FAILED, 2)


def test_times_and_patterns_choose_lines(on_cluster: Jobs) -> None:
    # The start of a container is known in whole seconds.
    script = "sleep 1; for i in 0 1 2 3 4 5 6 7 8 9; do echo line $i; sleep 1; done; printf 'no newline'"
    handle = on_cluster.submit(on_cluster.role(script))
    lines = on_cluster.log(handle)
    assert lines == [*[f"line {i}\n" for i in range(10)], "no newline"]
    assert on_cluster.log(handle, regex="line [37]") == ["line 3\n", "line 7\n"]
    (times,) = on_cluster.runner._scheduler("kubernetes").replica_times(handle.rpartition("/")[2])
    assert times.started is not None
    assert times.exit_code == 0
    middle = times.started + timedelta(seconds=7)
    early = on_cluster.log(handle, until=middle)
    late = on_cluster.log(handle, since=middle)
    assert early + late == lines
    assert early
    assert late
    assert on_cluster.log(handle, since=datetime.now(timezone.utc)) == []


def test_the_last_lines_of_a_cancelled_job_reach_a_follower(on_cluster: Jobs) -> None:
    handle = on_cluster.submit(on_cluster.role("trap 'echo saved; exit 1' TERM; echo begun; sleep 600 & wait"))
    follower = Follower(on_cluster, handle)
    wait(lambda: follower.lines)
    on_cluster.runner.cancel(handle)
    assert follower.end() == ["begun\n", "saved\n"]
