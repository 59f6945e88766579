from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import waiting
from tests.support.notices import recorded_notices
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.process import signal_group
from topcoat.specs import is_terminal


@pytest.fixture(autouse=True)
def no_job_left(home: Path) -> Iterator[None]:
    """End what a test has started and not ended."""
    yield
    for job in local_jobs.load_all():
        if not is_terminal(job.state):
            local_jobs.cancel(job)
            for replica in job.status["replicas"]:
                if replica["pid"]:
                    signal_group(replica["pid"], signal.SIGKILL)


@pytest.fixture
def notices() -> Iterator[list[str]]:
    """What topcoat tells the user."""
    with recorded_notices() as texts:
        yield texts


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition holds."""
    return waiting.eventually
