"""The hostile registry and the fault proxy do what `FAULTS` says, to exactly the requests that were chosen."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pytest

from tests.support.waiting import eventually
from topcoat.oci.digest import sha256_digest
from topcoat.testing.fault_proxy import FaultProxy
from topcoat.testing.faults import FAULTS, Faults
from topcoat.testing.registry import FakeRegistry

_DATA = b"a blob" * 50
_TIMEOUT_S = 60.0
# For a response that never comes.
_LOST_S = 0.5


class Place(NamedTuple):
    """A registry that may have faults, directly or behind a proxy."""

    host: str
    registry: FakeRegistry
    front: FakeRegistry | FaultProxy


@pytest.fixture(params=["registry", "proxy"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with FakeRegistry() as registry:
        registry.add_blob("app", _DATA)
        if request.param == "registry":
            yield Place(registry.host, registry, registry)
        else:
            with FaultProxy(registry.host) as proxy:
                yield Place(proxy.host, registry, proxy)


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]


def _ask(
    host: str, method: str = "GET", path: str = "", body: bytes | None = None, timeout: float = _TIMEOUT_S
) -> Answer:
    connection = http.client.HTTPConnection(host, timeout=timeout)
    try:
        connection.request(method, path or f"/v2/app/blobs/{sha256_digest(_DATA)}", body)
        response = connection.getresponse()
        return Answer(response.status, response.read(), {name.lower(): value for name, value in response.getheaders()})
    finally:
        connection.close()


def _connection(host: str, method: str) -> socket.socket:
    """Send a request and return the connection."""
    name, _, port = host.partition(":")
    connection = socket.create_connection((name, int(port)), timeout=60)
    connection.sendall(f"{method} /v2/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


def _handled(place: Place) -> bool:
    """Tell whether an upload session was opened."""
    return bool(place.registry.uploads)


# http.client waits for a response that drips.
@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"drip"}))
def test_a_fault_hits_its_requests_alone(place: Place, fault: str) -> None:
    place.front.faults.inject(fault, at=2, times=2)
    assert _ask(place.host).body == _DATA
    for number in (1, 2):
        try:
            answer = _ask(place.host, timeout=_LOST_S if fault == "lost-response" else _TIMEOUT_S)
        except (OSError, http.client.HTTPException):
            eventually(lambda number=number: place.front.faults.injected == number or fault == "refuse")  # type: ignore[misc]
            continue
        assert (answer.status, answer.body, answer.headers.get("location")) != (200, _DATA, None)
    if fault == "refuse":
        with pytest.raises(ConnectionRefusedError):
            _ask(place.host)
        place.front.end_faults()
    assert _ask(place.host).body == _DATA


@pytest.mark.parametrize(("fault", "handled"), [("reset-before", False), ("reset-after", True), ("refuse", False)])
def test_a_reset_comes_before_or_after_the_request_is_handled(place: Place, fault: str, handled: bool) -> None:
    place.front.faults.inject(fault)
    with pytest.raises(ConnectionError):
        _ask(place.host, "POST", "/v2/app/blobs/uploads/")
    assert _handled(place) is handled


def test_a_lost_response_belongs_to_a_request_that_was_handled(place: Place) -> None:
    place.front.faults.inject("lost-response")
    with pytest.raises(TimeoutError):
        _ask(place.host, "POST", "/v2/app/blobs/uploads/", timeout=_LOST_S)
    eventually(lambda: _handled(place))


@pytest.mark.parametrize("fault", ["401", "403", "404", "429", "500", "503"])
def test_a_status_comes_with_the_error_of_a_registry_and_without_the_work(place: Place, fault: str) -> None:
    place.front.faults.inject(fault)
    answer = _ask(place.host, "POST", "/v2/app/blobs/uploads/")
    assert answer.status == int(fault)
    assert json.loads(answer.body)["errors"][0]["code"]
    assert not _handled(place)
    assert ("www-authenticate" in answer.headers, "retry-after" in answer.headers) == (fault == "401", fault == "429")


@pytest.mark.parametrize(("fault", "size"), [("html", 50), ("empty", 0)])
def test_a_page_or_nothing_comes_with_status_200(place: Place, fault: str, size: int) -> None:
    place.front.faults.inject(fault)
    answer = _ask(place.host, "PUT", "/v2/app/manifests/1", b"{}")
    assert (answer.status, len(answer.body) >= size, "docker-content-digest" in answer.headers) == (200, True, False)
    assert "1" not in place.registry.repositories["app"].tags


def test_a_redirect_leads_to_another_host_that_has_a_page_for_everything(place: Place) -> None:
    place.front.faults.inject("redirect")
    answer = _ask(place.host)
    assert answer.status == 307
    elsewhere = answer.headers["location"].removeprefix("http://").strip("/")
    assert elsewhere != place.host
    for method in ("GET", "PUT"):
        assert _ask(elsewhere, method).headers["content-type"].startswith("text/html")


def test_a_truncated_response_states_more_than_it_has(place: Place) -> None:
    place.front.faults.inject("truncate")
    with pytest.raises(http.client.IncompleteRead) as raised:
        _ask(place.host)
    assert 0 < len(raised.value.partial) < len(_DATA)
    place.front.faults.inject("truncate")
    with _connection(place.host, "HEAD") as connection:
        received = b"".join(iter(partial(connection.recv, 1000), b""))
    assert received.startswith(b"HTTP/1.1 ")
    assert not received.endswith(b"\r\n\r\n")


def test_a_dripping_response_comes_byte_by_byte(place: Place) -> None:
    place.front.faults.inject("drip")
    with _connection(place.host, "GET") as connection:
        assert [connection.recv(100) for _ in range(4)] == [b"H", b"T", b"T", b"P"]


def test_a_wrong_digest_is_in_the_head_and_the_body_is_damaged(place: Place) -> None:
    place.front.faults.inject("wrong-digest")
    answer = _ask(place.host)
    assert answer.headers["docker-content-digest"] != sha256_digest(_DATA)
    assert (answer.body[:-1], answer.body[-1] != _DATA[-1]) == (_DATA[:-1], True)


def test_a_wrong_location_is_one_at_which_there_is_nothing(place: Place) -> None:
    place.front.faults.inject("wrong-location")
    location = _ask(place.host, "POST", "/v2/app/blobs/uploads/").headers["location"]
    assert _ask(place.host, "PUT", location, b"x").status == 404


def test_requests_are_counted_from_the_injection_on() -> None:
    faults = Faults()
    assert [faults.take() for _ in range(2)] == ["", ""]
    faults.inject("403", at=2)
    faults.inject("500", at=3, times=2)
    assert [faults.take() for _ in range(5)] == ["", "403", "500", "500", ""]
    assert (faults.count, faults.injected) == (7, 3)
    faults.clear()
    assert (faults.count, faults.injected, faults.take()) == (0, 0, "")


def test_an_unknown_fault_is_an_error() -> None:
    with pytest.raises(ValueError, match="invalid fault 'teapot': choose from"):
        Faults().inject("teapot")


def test_the_proxy_passes_everything_on_and_records_it() -> None:
    with FakeRegistry() as registry, FaultProxy(registry.host) as proxy:
        session = _ask(proxy.host, "POST", "/v2/app/blobs/uploads/").headers["location"]
        assert _ask(proxy.host, "PUT", f"{session}?digest={sha256_digest(_DATA)}", _DATA).status == 201
        assert _ask(proxy.host, "HEAD").headers["content-length"] == str(len(_DATA))
        assert _ask(proxy.host).body == _DATA
        assert _ask(proxy.host, path="/v2/app/manifests/1").status == 404
        assert [method for method, _ in proxy.requests] == ["POST", "PUT", "HEAD", "GET", "GET"]
        assert registry.requests[0].headers["host"] == proxy.host
