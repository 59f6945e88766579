"""What deliveries belong to, and what is remembered of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from topcoat.destinations.deliveries import Delivery, context_of, last_delivery, note_delivery, until_settled
from topcoat.errors import StateError, WorkspaceChanged
from topcoat.specs import Workspace


def test_a_workspace_is_called_by_its_absolute_paths(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert context_of(Workspace({".": ""})) == str(tmp_path)
    assert context_of(Workspace({"~/a": "", "b/../c": "t"})) == f"{home}/a;{tmp_path}/c:t"
    assert context_of(Workspace({"s3://bucket/x": "t"})) == "s3://bucket/x:t"


def test_the_last_delivery_of_each_context_is_recalled() -> None:
    first, second = Delivery("t1", ("a", "b"), ("x",)), Delivery("t2", (), ())
    assert last_delivery("one") is None
    note_delivery(first, "one", "w")
    note_delivery(second, "one", os.fsdecode(b"\xff"))
    assert last_delivery("one", "w") == first
    assert last_delivery("one", os.fsdecode(b"\xff")) == second
    assert last_delivery("onew") is None
    note_delivery(second, "one", "w")
    assert last_delivery("one", "w") == second


def test_a_note_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file/x"))
    with pytest.raises(StateError):
        note_delivery(Delivery("t", (), ()), "one")


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (1, 2), (2, 3), (3, 3), (9, 3)])
def test_three_attempts_are_made(failures: int, tries: int) -> None:
    made: list[int] = []

    def attempt() -> str:
        made.append(1)
        if len(made) <= failures:
            raise WorkspaceChanged(f"change {len(made)}")
        return "settled"

    if failures >= 3:
        with pytest.raises(WorkspaceChanged, match="change 3"):
            until_settled(attempt)
    else:
        assert until_settled(attempt) == "settled"
    assert len(made) == tries


def test_other_errors_are_not_tried_again() -> None:
    made: list[int] = []

    def attempt() -> None:
        made.append(1)
        raise StateError("no")

    with pytest.raises(StateError):
        until_settled(attempt)
    assert made == [1]
