"""Functions side by side in threads: results, failures, limits, and threads that end with their scope."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import closing

import pytest

from tests.support.waiting import eventually
from topcoat import tasks as tasks_module
from topcoat.tasks import Task, TaskScope, ahead, run_all

_TIMEOUT_S = 20


def _on_wait(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Call *action* whenever a scope, or a result, begins to wait for a task."""
    wait = Task.wait

    def act_and_wait(task: Task[object], timeout: float | None = None) -> None:
        action()
        wait(task, timeout)

    monkeypatch.setattr(Task, "wait", act_and_wait)


class TestTask:
    def test_it_starts_at_once_and_its_result_can_be_read_twice(self) -> None:
        started = threading.Event()
        with TaskScope() as tasks:
            task = tasks.start(lambda: (started.set(), 42)[1])
            assert started.wait(_TIMEOUT_S)
            assert task.result() == 42
        assert task.result() == 42

    @pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
    def test_its_error_is_raised_by_its_result_alone(self, error: BaseException) -> None:
        def fail() -> None:
            raise error

        with TaskScope() as tasks:
            task = tasks.start(fail)
        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                task.result()
            assert caught.value is error

    def test_a_task_that_has_ended_keeps_no_reference_to_its_function(self) -> None:
        """Packed layers, hundreds of megabytes, would stay in memory until the last one of a push is sent."""

        class Layer:
            def send(self) -> str:
                return "sent"

        with TaskScope() as tasks:

            def start() -> tuple[Task[str], weakref.ref[Layer]]:
                layer = Layer()
                return tasks.start(layer.send), weakref.ref(layer)

            task, reference = start()
            task.wait()
            gc.collect()
            assert reference() is None
            assert task.result() == "sent"


class TestTaskScope:
    @pytest.mark.parametrize("error", [None, ValueError("the block fails")])
    def test_no_task_outlives_the_block(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
        waiting, ended = threading.Event(), []
        # A task can end only after the scope has begun to wait for it.
        _on_wait(monkeypatch, waiting.set)

        def work() -> None:
            assert waiting.wait(_TIMEOUT_S)
            ended.append(1)

        def block(tasks: TaskScope) -> None:
            for _ in range(3):
                tasks.start(work)
                tasks.start_job(work) if error is None else None

        if error is None:
            with TaskScope() as tasks:
                block(tasks)
        else:
            with pytest.raises(ValueError, match="the block fails"):
                _leave_with(error, TaskScope(), block)
        assert len(ended) == (6 if error is None else 3)
        assert not [thread for thread in threading.enumerate() if thread.name == "topcoat-task"]

    def test_an_error_of_a_task_does_not_replace_that_of_the_block(self) -> None:
        def fail() -> None:
            raise ValueError("task")

        def block(tasks: TaskScope) -> None:
            tasks.start(fail)
            tasks.start_job(fail)

        with pytest.raises(KeyError, match="block"):
            _leave_with(KeyError("block"), TaskScope(), block)

    def test_jobs_that_have_not_begun_are_skipped_after_a_job_fails(self) -> None:
        begun, go_on = threading.Event(), threading.Event()
        ran: list[int] = []
        cleaned: list[int] = []

        def fail() -> None:
            begun.set()
            assert go_on.wait(_TIMEOUT_S)
            raise ValueError("first")

        with TaskScope(max_jobs=1) as tasks:
            first = tasks.start_job(fail, cleanup=lambda: cleaned.append(0))
            assert begun.wait(_TIMEOUT_S)
            others = [_job(tasks, number, ran, cleaned) for number in (1, 2, 3)]
            assert not tasks.failed
            go_on.set()
        assert tasks.failed
        assert ran == []
        assert sorted(cleaned) == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="first"):
            first.result()
        for other in others:
            other.result()

    def test_jobs_that_have_not_begun_are_skipped_after_the_block_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        begun, waiting = threading.Event(), threading.Event()
        ran: list[int] = []
        cleaned: list[int] = []
        _on_wait(monkeypatch, waiting.set)

        def work() -> None:
            begun.set()
            assert waiting.wait(_TIMEOUT_S)
            ran.append(0)

        def block(tasks: TaskScope) -> None:
            tasks.start_job(work, cleanup=lambda: cleaned.append(0))
            assert begun.wait(_TIMEOUT_S)
            for number in (1, 2, 3):
                _job(tasks, number, ran, cleaned)

        with pytest.raises(ValueError, match="block"):
            _leave_with(ValueError("block"), TaskScope(max_jobs=1), block)
        assert ran == [0]
        assert sorted(cleaned) == [0, 1, 2, 3]

    def test_a_task_that_fails_skips_no_job(self) -> None:
        ran: list[int] = []

        def fail() -> None:
            raise ValueError

        with TaskScope() as tasks:
            tasks.start(fail).wait()
            _job(tasks, 1, ran, [])
        assert ran == [1]
        assert not tasks.failed

    def test_no_more_jobs_run_at_a_time_than_there_are_slots(self) -> None:
        # Each job waits for two others, so three slots are needed; a fourth job would be counted.
        meeting, counter = threading.Barrier(3), _Counter()

        def work() -> None:
            with counter:
                meeting.wait(_TIMEOUT_S)

        with TaskScope(max_jobs=3) as tasks:
            jobs = [tasks.start_job(work) for _ in range(9)]
        for job in jobs:
            job.result()
        assert counter.maximum == 3

    def test_an_interrupted_block_does_not_wait_for_a_task_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tasks_module, "_INTERRUPTED_WAIT_S", 0.01)
        hang, ended = threading.Event(), []

        def work() -> None:
            hang.wait(_TIMEOUT_S)
            ended.append(1)

        scope = TaskScope()
        with pytest.raises(KeyboardInterrupt):
            _leave_with(KeyboardInterrupt(), scope, lambda tasks: tasks.start(work))
        assert ended == []
        hang.set()
        scope._tasks[0].wait()

    def test_an_interrupted_block_waits_no_longer_for_many_tasks_than_for_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now, waited = [100.0], [0.0]

        def wait(task: Task[object], timeout: float | None = None) -> None:
            assert timeout is not None
            now[0] += timeout
            waited[0] += timeout

        def block(tasks: TaskScope) -> None:
            for _ in range(5):
                tasks.start(lambda: None)

        with monkeypatch.context() as patch:
            patch.setattr(Task, "wait", wait)
            patch.setattr("topcoat.tasks.time.monotonic", lambda: now[0])
            with pytest.raises(KeyboardInterrupt):
                _leave_with(KeyboardInterrupt(), TaskScope(), block)
        assert waited == [tasks_module._INTERRUPTED_WAIT_S]

    def test_an_interrupt_while_the_scope_waits_skips_the_jobs_that_have_not_begun(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on = threading.Event(), threading.Event()
        ran: list[int] = []

        def work() -> None:
            begun.set()
            assert go_on.wait(_TIMEOUT_S)

        def interrupt() -> None:
            raise KeyboardInterrupt

        scope = TaskScope(max_jobs=1)
        scope.start_job(work)
        assert begun.wait(_TIMEOUT_S)
        _job(scope, 2, ran, [])
        with monkeypatch.context() as patch:
            _on_wait(patch, interrupt)
            with pytest.raises(KeyboardInterrupt):
                scope.__exit__(None, None, None)
        go_on.set()
        for task in scope._tasks:
            task.wait()
        assert ran == []


def _leave_with(error: BaseException, scope: TaskScope, block: Callable[[TaskScope], object]) -> None:
    """Run *block* in *scope* and raise *error* at its end."""
    with scope:
        block(scope)
        raise error


def _job(tasks: TaskScope, number: int, ran: list[int], cleaned: list[int]) -> Task[None]:
    return tasks.start_job(lambda: ran.append(number), cleanup=lambda: cleaned.append(number))


class _Counter:
    """Counts how many threads are in its ``with`` block at a time."""

    def __init__(self) -> None:
        self.maximum = 0
        self._current = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._current += 1
            self.maximum = max(self.maximum, self._current)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._current -= 1


class TestRunAll:
    def test_functions_run_side_by_side(self) -> None:
        meeting = threading.Barrier(8, timeout=_TIMEOUT_S)
        assert len(run_all([meeting.wait] * 8)) == 8

    def test_results_keep_the_order_of_the_functions(self) -> None:
        # Each function ends after the one behind it.
        ended = [threading.Event() for _ in range(9)]
        ended[8].set()

        def after_the_next(number: int) -> Callable[[], int]:
            def run() -> int:
                assert ended[number + 1].wait(_TIMEOUT_S)
                ended[number].set()
                return number

            return run

        assert run_all(after_the_next(number) for number in range(8)) == list(range(8))
        assert run_all([]) == []

    def test_no_more_run_at_a_time_than_allowed(self) -> None:
        meeting, counter = threading.Barrier(3), _Counter()

        def work() -> None:
            with counter:
                meeting.wait(_TIMEOUT_S)

        run_all([work] * 21, max_at_once=3)
        assert counter.maximum == 3

    def test_a_failure_frees_its_slot_and_skips_no_other_function(self) -> None:
        ended: list[int] = []

        def fail() -> None:
            raise ValueError("first")

        with pytest.raises(ValueError, match="first"):
            run_all([fail, lambda: ended.append(1), fail, lambda: ended.append(2)], max_at_once=1)
        assert sorted(ended) == [1, 2]


class TestAhead:
    def test_all_items_come_in_order(self) -> None:
        assert list(ahead((number for number in range(1000)), 2)) == [*range(1000)]
        assert list(ahead((number for number in range(0)), 2)) == []

    def test_no_more_than_the_limit_are_made_before_they_are_taken(self) -> None:
        made: list[int] = []
        with closing(ahead(_counted(made), 4)) as numbers:
            assert next(numbers) == 0
            eventually(lambda: len(made) == 6)  # one was taken, four wait, and one waits for a place
            time.sleep(0.02)
            assert len(made) == 6
        assert made == [*range(6)]

    def test_an_error_comes_after_the_items_before_it(self) -> None:
        def items() -> Generator[int, None, None]:
            yield 1
            raise ValueError("no more")

        numbers = ahead(items(), 2)
        assert next(numbers) == 1
        with pytest.raises(ValueError, match="no more"):
            next(numbers)

    def test_when_the_caller_stops_early_no_thread_is_left_and_the_items_are_closed(self) -> None:
        closed: list[bool] = []

        def items() -> Generator[int, None, None]:
            try:
                yield from _counted([])
            finally:
                closed.append(True)

        before = threading.active_count()
        with closing(ahead(items(), 2)) as numbers:
            next(numbers)
        assert closed
        eventually(lambda: threading.active_count() <= before)


def _counted(made: list[int]) -> Generator[int, None, None]:
    for number in itertools.count():
        made.append(number)
        yield number
