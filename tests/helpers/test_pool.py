"""Tasks for several processes: all are done once, and no process stays."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from topcoat.errors import TopcoatError
from topcoat.helpers import plain_files, pool
from topcoat.helpers.plain_files import Task
from topcoat.helpers.pool import HelperPool

COUNT = 1500


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    directory = tmp_path_factory.mktemp("files")
    made: list[Task] = []
    for number in range(COUNT):
        path = directory / f"{number}é\udcff"
        path.write_bytes(b"%d" % number)
        st = path.stat()
        made.append(("digest", bytes(path), st.st_size, st.st_ctime_ns, False))
    return made


@pytest.fixture
def tasks(made: list[Task]) -> list[Task]:
    return list(made)


def sizes(tasks: list[Task]) -> list[int]:
    return [1] * len(tasks)


def processes(helpers: HelperPool) -> list[int]:
    return [helper._process.pid for helper in helpers._helpers]


def wait_until_ready(helpers: HelperPool) -> None:
    for helper in helpers._helpers:
        assert helper._poll.poll(60_000)


def test_results_are_in_the_order_of_the_tasks_and_what_is_not_plain_has_none(tasks: list[Task]) -> None:
    tasks[1000] = ("digest", b"/nowhere", 1, 1, False)
    done: list[int] = []
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        results = helpers.do_all(tasks, sizes(tasks), done.append)
        again = helpers.do_all(tasks, sizes(tasks))
        (pid,) = processes(helpers)
    expected = [hashlib.sha256(b"%d" % number).digest() for number in range(COUNT)]
    assert results == again == [*expected[:1000], None, *expected[1001:]]
    assert sum(done) == COUNT - 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_helper_does_a_part(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    own: list[Task] = []

    def do_slowly(task: Task) -> bytes | None:
        own.append(task)
        time.sleep(0.001)
        return plain_files.do(task)

    monkeypatch.setattr(pool, "do", do_slowly)
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        assert None not in helpers.do_all(tasks, sizes(tasks))
    assert len(own) < COUNT / 2


def test_few_tasks_have_no_helpers(tasks: list[Task]) -> None:
    with HelperPool(pool.MIN_TASKS - 1) as helpers:
        assert processes(helpers) == []
        assert None not in helpers.do_all(tasks[:10], sizes(tasks[:10]))
        assert helpers.do_all([], []) == []


@pytest.mark.parametrize("executable", ["", "/usr/sbin/uwsgi", "/nowhere/python3"])
def test_without_a_python_to_start_this_process_does_everything(
    tasks: list[Task], monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with HelperPool(COUNT) as helpers:
        assert processes(helpers) == []
        assert None not in helpers.do_all(tasks, sizes(tasks))


def test_a_helper_that_cannot_start_is_not_missed(
    tasks: list[Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        assert None not in helpers.do_all(tasks, sizes(tasks))


def test_a_helper_that_is_killed_in_the_middle_is_an_error(tasks: list[Task]) -> None:
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        (pid,) = processes(helpers)
        helpers.do_all(tasks[:1], [1])
        os.kill(pid, signal.SIGSTOP)
        killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(TopcoatError, match="a helper process was killed") as caught:
            helpers.do_all(tasks, sizes(tasks))
    assert "again" in str(caught.value.hint)


def test_a_helper_that_stops_answering_is_an_error(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_MAX_WAIT_S", 0.1)
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        (pid,) = processes(helpers)
        helpers.do_all(tasks[:1], [1])
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TopcoatError, match="does not answer"):
            helpers.do_all(tasks, sizes(tasks))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_chunk_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    work = pool._Work([("digest",)] * 200, [0] * 100 + [5 << 20] * 4 + [64 << 20] + [0] * 95, None)
    chunks = [(chunk.start, chunk.stop) for chunk in work.chunks]
    assert chunks == [(0, 64), (64, 101), (101, 102), (102, 103), (103, 104), (104, 105), (105, 169), (169, 200)]
