"""Fixtures for the scanner's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.scan.oracle.client import Oracle, build


@pytest.fixture(scope="session")
def ignore_oracle() -> Iterator[Oracle]:
    """The ignore matcher of the container builders; needs Go."""
    oracle = Oracle(build())
    yield oracle
    oracle.close()
