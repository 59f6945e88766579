from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import pytest

from tests.support.notices import recorded_notices
from topcoat import notices
from topcoat.cli.follow import LogQuery, ReplicaId, print_logs, replicas_of, wait_until_started
from topcoat.errors import UnknownApp, UsageError
from topcoat.runner import Runner
from topcoat.specs import AppDef, AppState, AppStatus, Role


class _Runner:
    """Give replicas' lines, and states one after the other."""

    def __init__(self, lines: Mapping[ReplicaId, Iterable[str]], states: Iterable[AppState] = ()) -> None:
        self.lines, self.states = lines, iter(states)
        self.asked: list[tuple[object, ...]] = []

    def follows_pending(self, handle: str) -> bool:
        return handle.startswith("early:")

    def log_lines(self, handle: str, role: str, k: int, *query: object, **more: object) -> Iterator[str]:
        self.asked.append((handle, role, k, *query, more))
        yield from self.lines[ReplicaId(role, k)]

    def describe(self, handle: str) -> AppDef | None:
        if not self.lines:
            return None
        counts: dict[str, int] = {}
        for role, _ in self.lines:
            counts[role] = counts.get(role, 0) + 1
        return AppDef("app", [Role(name, "", num_replicas=number) for name, number in counts.items()])

    def status(self, handle: str, *, patient: bool = False) -> AppStatus | None:
        state = next(self.states, None)
        return None if state is None else AppStatus(state)


def _printed(lines: Mapping[ReplicaId, Iterable[str]], *, follow: bool = False, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    runner = cast(Runner, _Runner(lines))
    print_logs(runner, "x:///app", list(lines), LogQuery(follow=follow), out)
    return out.getvalue()


def test_the_log_of_one_replica_is_printed_unchanged() -> None:
    pieces = ["one\n", "50 %\r", "100 %\r", "prompt> ", "yes\n", "no end"]
    assert _printed({ReplicaId("a", 0): pieces}) == "".join(pieces)


@pytest.mark.parametrize("follow", [False, True])
def test_lines_of_several_replicas_have_a_prefix_and_stay_whole(follow: bool) -> None:
    lines = {
        ReplicaId("a", 0): ["one\n", "half", "-half\n", "50 %\r", "100 %\r\n"],
        ReplicaId("trainer", 10): [f"{number}\n" for number in range(500)] + ["no end"],
    }
    printed = _printed(lines, follow=follow).splitlines()
    assert sorted({line[:11] for line in printed}) == ["a/0        ", "trainer/10 "]
    assert [line[11:] for line in printed if line.startswith("a")] == ["one", "half-half", "50 %", "100 %"]
    assert [line[11:] for line in printed if line.startswith("t")] == [*map(str, range(500)), "no end"]
    if not follow:
        assert printed[0].startswith("a")
        assert printed[4].startswith("t")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_prefixes_have_a_color_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    printed = _printed({ReplicaId("a", 0): ["x\n"], ReplicaId("a", 1): ["y\n"]}, out=_Terminal())
    assert printed == "\033[36ma/0\033[0m x\n\033[33ma/1\033[0m y\n"


def test_a_failure_of_one_log_does_not_wait_for_the_others() -> None:
    hold = threading.Event()

    def quiet() -> Iterator[str]:
        hold.wait(20)
        yield "late\n"

    def failing() -> Iterator[str]:
        yield from ()
        raise UsageError("no logs")

    with pytest.raises(UsageError, match="no logs"):
        _printed({ReplicaId("a", 0): quiet(), ReplicaId("a", 1): failing()}, follow=True)
    assert not hold.is_set()
    hold.set()


def test_the_query_reaches_the_scheduler() -> None:
    runner = _Runner({ReplicaId("a", 0): []})
    query = LogQuery("x", None, None, True, None)
    print_logs(cast(Runner, runner), "x:///app", [ReplicaId("a", 0)], query, io.StringIO())
    assert runner.asked == [("x:///app", "a", 0, "x", None, None, {"should_tail": True, "streams": None})]


def test_an_application_has_the_replicas_of_all_its_roles() -> None:
    replicas = [ReplicaId("a", 0), ReplicaId("b", 0), ReplicaId("b", 1)]
    runner: Any = _Runner(dict.fromkeys(replicas, ()))
    assert replicas_of(runner, "x:///app") == replicas
    with pytest.raises(UnknownApp, match="unknown job x:///app"):
        replicas_of(cast(Runner, _Runner({})), "x:///app")


def test_it_waits_until_something_runs() -> None:
    states = [AppState.SUBMITTED, AppState.PENDING, AppState.RUNNING, AppState.SUCCEEDED]
    runner = _Runner({}, states)
    assert wait_until_started(cast(Runner, runner), "x:///app").state is AppState.RUNNING
    with pytest.raises(UnknownApp):
        wait_until_started(cast(Runner, _Runner({}, [AppState.PENDING])), "x:///app")


def test_a_line_without_end_beside_another_replica_is_printed_in_parts() -> None:
    printed = _printed({ReplicaId("a", 0): ["x" * (1 << 19)] * 7, ReplicaId("b", 0): ["short\n"]})
    assert [len(line) for line in printed.splitlines()] == [4 + (1 << 20)] * 3 + [4 + (1 << 19), len("b/0 short")]
    assert printed.count("x") == 7 << 19


def test_the_wait_for_the_start_of_a_job_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices.notice_if_slow.__wrapped__, "__defaults__", (0.01,))  # type: ignore[attr-defined]
    runner = cast(Runner, _Runner({}, [AppState.PENDING] * 8 + [AppState.RUNNING]))
    with recorded_notices() as texts:
        wait_until_started(runner, "x:///app")
    assert texts == ["waiting for x:///app to start"]


def test_a_log_that_can_be_followed_before_the_start_is_not_waited_for() -> None:
    runner = _Runner({}, [AppState.PENDING])
    assert wait_until_started(cast(Runner, runner), "early:///app").state is AppState.PENDING
