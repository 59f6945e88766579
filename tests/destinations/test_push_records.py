"""What deliveries belong to, and what is remembered of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from topcoat.destinations.push_records import PushRecord, context_of, last_push_record, until_settled, write_push_record
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
    first, second = PushRecord("t1", ("a", "b"), ("x",)), PushRecord("t2", (), ())
    assert last_push_record("one") is None
    write_push_record(first, "one", "w")
    write_push_record(second, "one", os.fsdecode(b"\xff"))
    assert last_push_record("one", "w") == first
    assert last_push_record("one", os.fsdecode(b"\xff")) == second
    assert last_push_record("onew") is None
    write_push_record(second, "one", "w")
    assert last_push_record("one", "w") == second


def test_a_note_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file/x"))
    with pytest.raises(StateError):
        write_push_record(PushRecord("t", (), ()), "one")


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
