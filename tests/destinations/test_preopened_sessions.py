"""Upload sessions opened ahead of need."""

from __future__ import annotations

import pytest

from topcoat.destinations.preopened_sessions import PreopenedSessions
from topcoat.errors import RegistryError
from topcoat.registry.client import RegistryClient
from topcoat.tasks import TaskScope
from topcoat.testing.registry import FakeRegistry


def test_each_session_is_given_once_and_the_rest_is_cancelled() -> None:
    with FakeRegistry() as fake, RegistryClient(fake.host) as client, TaskScope() as tasks:
        sessions = PreopenedSessions(client, "app", 3, tasks)
        taken = sessions.take()
        assert taken is not None
        sessions.cancel()
        assert [upload in taken for upload in fake.uploads] == [True]
        assert sessions.take() is None
        assert [request.method for request in fake.requests].count("DELETE") == 2


def test_none_is_opened_if_none_is_wanted() -> None:
    with FakeRegistry() as fake, RegistryClient(fake.host) as client, TaskScope() as tasks:
        sessions = PreopenedSessions(client, "app", 0, tasks)
        assert sessions.take() is None
        sessions.cancel()
        assert fake.requests == []


def test_take_raises_if_a_session_cannot_be_opened() -> None:
    with FakeRegistry() as fake, RegistryClient(fake.host) as client, TaskScope() as tasks:
        fake.fail(403, times=2, method="POST")
        sessions = PreopenedSessions(client, "app", 2, tasks)
        with pytest.raises(RegistryError):
            sessions.take()
        sessions.cancel()
        assert fake.uploads == {}
