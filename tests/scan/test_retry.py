"""Starting over when a file of the workspace changes meanwhile."""

from __future__ import annotations

import pytest

from topcoat.errors import StateError, WorkspaceChanged
from topcoat.scan.retry import retry_if_changed


@pytest.mark.parametrize(("changes", "attempts"), [(0, 1), (1, 2), (2, 3), (3, 3), (9, 3)])
def test_three_attempts_are_made_at_most(changes: int, attempts: int) -> None:
    made: list[int] = []

    def attempt() -> str:
        made.append(1)
        if len(made) <= changes:
            raise WorkspaceChanged(f"change {len(made)}")
        return "unchanged"

    if changes >= 3:
        with pytest.raises(WorkspaceChanged, match="change 3"):
            retry_if_changed(attempt)
    else:
        assert retry_if_changed(attempt) == "unchanged"
    assert len(made) == attempts


def test_other_errors_are_raised_at_once() -> None:
    made: list[int] = []

    def attempt() -> None:
        made.append(1)
        raise StateError("no")

    with pytest.raises(StateError):
        retry_if_changed(attempt)
    assert made == [1]
