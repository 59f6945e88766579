"""Requests to servers that fail in every way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.http_servers import ok, read_request, respond, scripted_server
from topcoat.errors import RequestRefused, SchedulerUnavailable
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.config import Cluster
from topcoat.schedulers.kubernetes.kinds import EVENT, JOB, JOB_SET, NAMESPACE, POD, kind_of

JOB_OBJECT = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "j", "namespace": "n", "labels": {"a": "1"}},
}
Handler = Callable[[Any], None]


@contextmanager
def client(*handlers: Handler) -> Iterator[Client]:
    """Return a client of a server whose connections are handled one after the other."""
    from kubernetes.client import Configuration

    with scripted_server(*handlers) as address:
        configuration = Configuration(host=f"http://{address}")
        made = Client(Cluster(configuration, "t", "default"))
        try:
            yield made
        finally:
            made.close()


def answer(document: Any, *headers: str) -> Handler:
    return respond(ok(json.dumps(document).encode(), "Connection: close", *headers))


def refuse(status: int, message: str = "no", reason: str = "", *headers: str) -> Handler:
    body = json.dumps({"kind": "Status", "message": message, "reason": reason}).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return respond("\r\n".join(head).encode() + b"\r\n\r\n" + body)


def drop(connection: Any) -> None:
    """Read a request and close the connection."""
    read_request(connection)
    connection.close()


def test_paths() -> None:
    assert POD.path("n", "p") == "/api/v1/namespaces/n/pods/p"
    assert JOB.path(None) == "/apis/batch/v1/jobs"
    assert JOB.path("a/b", "c?d") == "/apis/batch/v1/namespaces/a%2Fb/jobs/c%3Fd"
    assert NAMESPACE.path("n", "n") == "/api/v1/namespaces/n"
    assert kind_of(JOB_OBJECT) is JOB


def test_a_list_is_read_page_by_page() -> None:
    first = {"items": [{"a": 1}], "metadata": {"continue": "c", "resourceVersion": "7"}}
    second = {"items": [{"a": 2}], "metadata": {"resourceVersion": "7"}}
    with client(answer(first), answer(second)) as kube:
        assert kube.list_version(POD, "n") == ([{"a": 1}, {"a": 2}], "7")


def test_a_list_whose_pages_have_expired_begins_again() -> None:
    first = {"items": [{"a": 1}], "metadata": {"continue": "c"}}
    with client(answer(first), refuse(410, "expired", "Expired"), answer({"items": [{"a": 2}]})) as kube:
        assert kube.list(POD, "n") == [{"a": 2}]


def test_an_object_whose_creation_was_not_confirmed_is_found() -> None:
    handlers = [answer({}), drop, refuse(409, "exists", "AlreadyExists"), answer({**JOB_OBJECT, "spec": {}})]
    with client(*handlers) as kube:
        kube.version()
        assert kube.create(JOB_OBJECT) == {**JOB_OBJECT, "spec": {}}


def test_an_object_of_somebody_else_is_a_conflict_also_after_a_lost_response() -> None:
    other = {**JOB_OBJECT, "metadata": {"labels": {"a": "2"}}}
    with client(answer({}), drop, refuse(409, "exists", "AlreadyExists"), answer(other)) as kube:
        kube.version()
        with pytest.raises(RequestRefused, match="creating the Job n/j: exists"):
            kube.create(JOB_OBJECT)
    with client(refuse(409, "exists", "AlreadyExists")) as kube, pytest.raises(RequestRefused):
        kube.create(JOB_OBJECT)


def test_a_server_that_is_busy_is_asked_again() -> None:
    with client(refuse(429, "busy", "TooManyRequests", "Retry-After: 0"), refuse(503), answer({"items": []})) as kube:
        assert kube.list(POD, "n") == []


def test_a_server_that_starts_may_refuse_a_login_for_a_moment() -> None:
    with client(answer({}), drop, refuse(401), refuse(403), answer({"items": []})) as kube:
        kube.version()
        assert kube.list(POD, "n") == []
    with client(refuse(401)) as kube, pytest.raises(RequestRefused):
        kube.list(POD, "n")


def test_a_server_that_never_responded_is_not_waited_for() -> None:
    with client(drop) as kube, pytest.raises(SchedulerUnavailable, match="cannot connect to the cluster at"):
        kube.list(POD, "n")


def test_waiting_for_a_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.schedulers.kubernetes.transport._RETRY_TIMEOUT_S", 0.2)
    with client(answer({}), drop, drop, drop) as kube:
        kube.version()
        with pytest.raises(SchedulerUnavailable):
            kube.list(POD, "n")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b'{"a": ' + b"[" * 1000])
def test_a_response_that_is_no_object_is_one_error(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.schedulers.kubernetes.transport._RETRY_TIMEOUT_S", 0)
    with client(respond(ok(body, "Connection: close"))) as kube, pytest.raises(SchedulerUnavailable, match="sent"):
        kube.get(POD, "n", "p")


def test_a_response_has_a_maximum_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.schedulers.kubernetes.transport._MAX_BODY", 100)
    monkeypatch.setattr("topcoat.schedulers.kubernetes.transport._RETRY_TIMEOUT_S", 0)
    with client(answer({"a": "x" * 200})) as kube, pytest.raises(SchedulerUnavailable, match="more than"):
        kube.get(POD, "n", "p")


def test_what_does_not_exist_is_none() -> None:
    with client(refuse(404), refuse(404), refuse(404), refuse(404), answer({"resources": []})) as kube:
        assert kube.get(POD, "n", "p") is None
        assert kube.patch(POD, "n", "p", {}) is None
        assert not kube.delete(POD, "n", "p")
        assert not kube.serves(JOB_SET)
        assert not kube.serves(EVENT)


def test_the_time_is_the_servers() -> None:
    with client(answer({}, "Date: Tue, 14 Nov 2023 22:13:20 GMT")) as kube:
        kube.version()
        assert 1_700_000_000 <= kube.now() < 1_700_000_060


def test_text_of_the_server_is_escaped() -> None:
    with client(refuse(403, "\x1b[2J")) as kube, pytest.raises(RequestRefused) as caught:
        kube.list(POD, "n")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "message", "reason", "hint"),
    [
        (403, 'pods is forbidden: User "d" cannot list resource "pods"', "Forbidden", "-cfg namespace=NAME"),
        (403, "exceeded quota: q, requested: pods=1", "Forbidden", "kubectl describe quota -n n"),
        (404, 'namespaces "n" not found', "NotFound", "kubectl get namespaces"),
        (401, "Unauthorized", "", "log in again"),
        (422, "spec.x: Invalid value", "Invalid", "--dryrun"),
        (400, 'strict decoding error: unknown field "spec.x"', "BadRequest", "pod_overlay"),
        (500, 'failed calling webhook "mjob.kb.io"', "InternalError", "add-on"),
    ],
)
def test_a_refusal_says_what_to_type_next(status: int, message: str, reason: str, hint: str) -> None:
    with client(refuse(status, message, reason)) as kube, pytest.raises(RequestRefused) as caught:
        kube.list(POD, "n")
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)
    assert caught.value.status == status
