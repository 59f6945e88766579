"""What the tests of the bases share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.notices import recorded_notices
from tests.support.validated import validated_pushes


@pytest.fixture(autouse=True)
def _validated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every image that a test here pushes is valid."""
    with validated_pushes(monkeypatch):
        yield


@pytest.fixture
def notices() -> Iterator[list[str]]:
    """The notices that a test causes."""
    with recorded_notices() as notices:
        yield notices
