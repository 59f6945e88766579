"""Upload sessions opened ahead of need."""

from __future__ import annotations

import pytest

from topcoat.destinations.preopened_sessions import PreopenedSessions
from topcoat.errors import RegistryError
from topcoat.registry.client import RegistryClient
from topcoat.testing.registry import FakeRegistry


def test_each_session_is_given_once_and_the_rest_is_given_up() -> None:
    with FakeRegistry() as fake, RegistryClient(fake.host) as client:
        sessions = PreopenedSessions(client, "app", 3)
        taken = sessions.take()
        assert taken is not None
        sessions.cancel()
        assert [one in taken for one in fake.uploads] == [True]
        assert sessions.take() is None
        assert [request.method for request in fake.requests].count("DELETE") == 2


def test_none_is_opened_where_none_is_wanted() -> None:
    with FakeRegistry() as fake, RegistryClient(fake.host) as client:
        sessions = PreopenedSessions(client, "app", 0)
        assert sessions.take() is None
        sessions.cancel()
        assert fake.requests == []


def test_a_session_that_cannot_be_opened_is_told_to_who_takes_it() -> None:
    with FakeRegistry() as fake, RegistryClient(fake.host) as client:
        fake.fail(403, times=2, method="POST")
        sessions = PreopenedSessions(client, "app", 2)
        with pytest.raises(RegistryError):
            sessions.take()
        sessions.cancel()
        assert fake.uploads == {}
