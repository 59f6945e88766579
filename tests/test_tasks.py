"""Functions side by side in threads: results, failures, limits, and nothing that lingers."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from topcoat.tasks import Task, run_all


def test_a_task_starts_at_once_and_hands_over_its_result() -> None:
    started = threading.Event()
    task = Task(lambda: (started.set(), 42)[1])
    assert started.wait(10)
    assert task.result() == 42
    assert task.result() == 42


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_what_a_task_raises_comes_out_of_its_result_and_nowhere_else(error: BaseException) -> None:
    def fail() -> None:
        raise error

    task = Task(fail)
    task.wait()
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            task.result()
        assert caught.value is error


def test_tasks_run_side_by_side() -> None:
    meeting = threading.Barrier(8, timeout=10)
    assert len(run_all([meeting.wait] * 8)) == 8


def test_run_all_keeps_the_order_of_its_functions() -> None:
    def after(number: int) -> Callable[[], int]:
        return lambda: (time.sleep((7 - number) / 500), number)[1]

    assert run_all(after(number) for number in range(8)) == list(range(8))
    assert run_all([]) == []


def test_run_all_runs_no_more_at_once_than_asked() -> None:
    lock = threading.Lock()
    running: list[int] = [0]
    most: list[int] = [0]

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1

    run_all([work] * 20, at_once=3)
    assert most == [3]


def test_a_failure_waits_for_the_others_and_gives_its_place_free() -> None:
    ended: list[int] = []

    def fail() -> None:
        raise ValueError("first")

    def work() -> None:
        time.sleep(0.01)
        ended.append(1)

    with pytest.raises(ValueError, match="first"):
        run_all([fail, work, fail, work], at_once=1)
    assert ended == [1, 1]


def test_a_task_that_has_ended_holds_nothing_of_its_function() -> None:
    """Packed layers, hundreds of megabytes, would stay in memory until the last one of a push is sent."""

    class Layer:
        def send(self) -> str:
            return "sent"

    def start() -> tuple[Task[str], weakref.ref[Layer]]:
        layer = Layer()
        return Task(layer.send), weakref.ref(layer)

    task, alive = start()
    task.wait()
    gc.collect()
    assert alive() is None
    assert task.result() == "sent"
