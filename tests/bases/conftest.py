"""What the tests of the bases share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.validated import validated_pushes


@pytest.fixture(autouse=True)
def _validated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every image that a test here pushes is one."""
    with validated_pushes(monkeypatch):
        yield
