from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, cast

import pytest
from urllib3.exceptions import ProtocolError

from tests.schedulers.kubernetes.objects import ended, pod
from tests.support.notices import recorded_notices
from topcoat.errors import RequestRefused, SchedulerError, SchedulerUnavailable
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.pod_log import PodLog, Stamps, Window

DAY = "2023-11-14T22:13:"
RUNS = {"running": {}}


def line(second: float, text: str, end: str = "\n") -> bytes:
    return f"{DAY}{second:012.9f}Z {text}{end}".encode()


class Node:
    """Stand in for a client: each connection gets the next answer, each look at the pod the next state.

    An answer is a list of pieces, of which an exception breaks the connection, or an exception for the request.
    """

    cluster = "the cluster"

    def __init__(self, answers: Sequence[Any], states: Sequence[Any], now: float = 0.0) -> None:
        self._answers = list(answers)
        self._states = list(states)
        self._now = now
        self.queries: list[dict[str, str]] = []
        self.files: list[bytes] = []

    def now(self) -> float:
        return self._now

    def get(self, *_: object) -> Any:
        return self._states.pop(0)

    def open(self, path: str, query: dict[str, str], *_: object, **__: object) -> Any:
        if "limitBytes" in query:
            return Response([self.files.pop(0)] if self.files else [])
        self.queries.append(query)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Response(answer)


class Response:
    def __init__(self, pieces: Sequence[Any]) -> None:
        self._pieces = pieces

    def read(self, count: int) -> bytes:
        return b"".join(self._pieces)[:count]

    def stream(self, _: int) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        pass


def running(**fields: Any) -> dict[str, Any]:
    made = pod(phase="Running", state=RUNS, **fields)
    made["spec"]["restartPolicy"] = "Never"
    return made


def finished() -> dict[str, Any]:
    return pod(phase="Succeeded", state=ended(0, "Completed"))


def follow(node: Node, window: Window = Window()) -> list[str]:  # noqa: B008
    log = PodLog(cast(Client, node), running(), "trainer/0", window)
    return [piece.decode() for piece in log.follow() if piece]


def test_an_end_of_the_stream_is_not_the_end_while_the_container_runs() -> None:
    node = Node([[], [line(1, "a")], [line(1, "a"), line(2, "b")]], [running(), finished()])
    assert follow(node) == ["a\n", "b\n"]
    assert ["follow" in query for query in node.queries] == [True, True, False]


def test_a_connection_that_breaks_repeats_and_loses_no_line() -> None:
    first = [line(1, "a") + line(1.5, "b") + line(2.25, "half", end=""), ProtocolError("broken")]
    second = [line(1.5, "b")[:10], line(1.5, "b")[10:] + line(2.25, "half and half")]
    node = Node([first, second, [line(2.25, "half and half")]], [running(), finished()])
    assert follow(node) == ["a\n", "b\n", "half and half\n"]
    # The node cuts the time to whole seconds, so it is asked for them.
    assert node.queries[1]["sinceTime"] == f"{DAY}01Z"


def test_a_last_line_without_its_end_comes_when_the_container_has_ended() -> None:
    whole = [line(1, "a") + line(2, "no newline", end="")]
    assert follow(Node([whole, whole], [finished()])) == ["a\n", "no newline"]


def test_a_line_that_the_node_no_longer_has_is_reported_as_a_possible_gap() -> None:
    node = Node([[line(1, "a"), ProtocolError("broken")], [line(5, "b")], [line(5, "b")]], [running(), finished()])
    with recorded_notices() as notices:
        assert follow(node) == ["a\n", "b\n"]
    assert notices == [
        "trainer/0: the node has rotated the log; "
        "lines between 22:13:01.000000 and 22:13:05.000000 (UTC) may be missing"
    ]


def test_a_new_file_of_the_node_is_reported_as_a_possible_gap_while_the_log_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("topcoat.schedulers.kubernetes.pod_log._LOOK_AFTER_BYTES", 1)
    monkeypatch.setattr("topcoat.schedulers.kubernetes.pod_log._LOOK_PAUSE_S", 0)
    node = Node([[line(second, "x") for second in (1, 2, 3, 4)], [line(4, "x")]], [finished()])
    node.files = [line(1, "x"), line(1, "x"), line(3, "x"), line(3, "x")]
    with recorded_notices() as notices:
        assert len(follow(node)) == 4
    assert notices == [
        "trainer/0: the node has rotated the log; "
        "lines between 22:13:02.000000 and 22:13:03.000000 (UTC) may be missing"
    ]


def test_a_container_that_starts_again_continues_the_log_without_a_gap() -> None:
    again = running()
    again["status"]["containerStatuses"][0]["restartCount"] = 1
    node = Node([[line(1, "a")], [line(1, "a"), line(2, "b")], [line(9, "c")], [line(9, "c")]], [again, finished()])
    with recorded_notices() as notices:
        assert follow(node) == ["a\n", "b\n", "c\n"]
    assert notices == []
    assert ["previous" in query for query in node.queries] == [False, True, False, False]


def test_a_pod_that_has_not_started_or_is_gone_has_no_lines() -> None:
    waiting = RequestRefused("x", status=400)
    node = Node([waiting, [line(1, "a")]], [running(), None])
    assert follow(node) == ["a\n"]


def test_a_server_that_is_away_for_a_moment_loses_no_line() -> None:
    away = SchedulerUnavailable("connection refused")
    node = Node([[line(1, "a"), ProtocolError("broken")], away, [line(1, "a"), line(2, "b")]], [running(), finished()])
    node._answers.append([line(2, "b")])
    with recorded_notices() as notices:
        assert follow(node) == ["a\n", "b\n"]
    assert notices == ["the connection to the cluster is lost; trying again"]


def test_a_refusal_ends_the_log() -> None:
    with pytest.raises(RequestRefused):
        follow(Node([RequestRefused("forbidden", status=403)], []))


def test_errors_of_the_node_are_no_lines_of_the_job() -> None:
    node = Node([[b"unable to retrieve container logs for containerd://1\n"]] * 2, [finished()])
    with recorded_notices() as notices:
        assert follow(node) == []
    assert set(notices) == {"trainer/0: unable to retrieve container logs for containerd://1"}


def test_a_window_chooses_lines_by_their_nanoseconds() -> None:
    lines = [line(second, str(second)) for second in (1.1, 1.2, 1.3, 1.4)]
    start, end = (datetime(2023, 11, 14, 22, 13, 1, micros, timezone.utc) for micros in (200_000, 300_000))
    node = Node([lines, lines], [finished()])
    assert follow(node, Window.of(start, end)) == ["1.2\n", "1.3\n"]


def test_following_ends_when_no_further_line_can_be_wanted() -> None:
    end = datetime(2023, 11, 14, 22, 13, 1, tzinfo=timezone.utc)
    node = Node([[line(0.5, "a")]], [], now=end.timestamp() + 1)
    assert follow(node, Window.of(None, end)) == ["a\n"]


def test_a_line_that_never_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.schedulers.kubernetes.pod_log._MAX_LINE", 100)
    with pytest.raises(SchedulerError, match="longer than"):
        follow(Node([[line(1, "x" * 50, end=""), b"y" * 60]], []))


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z x", 1_000_000_000),
        ("1970-01-01T00:00:01.5Z x", 1_500_000_000),
        ("1970-01-01T01:00:00.000000001+01:00 x", 1),
    ],
)
def test_stamps_have_nanoseconds_and_zones(text: str, nanoseconds: int) -> None:
    assert Stamps().split(text.encode()) == (nanoseconds, b"x")
