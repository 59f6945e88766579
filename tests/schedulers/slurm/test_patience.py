"""Failures that pass, and those that last."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from topcoat.errors import SchedulerError
from topcoat.schedulers.slurm import patience
from topcoat.schedulers.slurm.patience import outlast, patient


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PAUSE_S", 0.0)


def answering(*answers: bool | SchedulerError) -> Callable[[], bool]:
    left = iter(answers)

    def ask() -> bool:
        answer = next(left)
        if isinstance(answer, SchedulerError):
            raise answer
        return answer

    return ask


def test_a_failed_look_at_slurm_does_not_end_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = patient(answering(SchedulerError("down"), SchedulerError("down"), True, SchedulerError("down")))
    assert [ask(), ask(), ask()] == [False, False, True]
    monkeypatch.setattr(patience, "_MAX_FAILING_S", -1.0)
    with pytest.raises(SchedulerError):
        ask()


def test_a_failure_that_passes_is_outlasted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(patience, "_NOTICE_AFTER_S", -1.0)
    assert outlast(answering(SchedulerError("down"), SchedulerError("down"), True))
    assert caplog.messages == ["down; trying again for 5 minutes"]
    ask = patient(answering(SchedulerError("down"), SchedulerError("down"), True))
    assert [ask(), ask(), ask()] == [False, False, True]
    assert len(caplog.messages) == 2


def test_a_failure_that_lasts_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 300.0, 301.0])
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    with pytest.raises(SchedulerError, match="still down"):
        outlast(answering(SchedulerError("down"), SchedulerError("down"), SchedulerError("still down"), True))
