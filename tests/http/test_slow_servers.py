"""Servers that are slow in every way: each wait ends, and is announced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.http_servers import read_request, scripted_server
from tests.support.notices import recorded_notices
from topcoat.errors import RegistryUnavailable
from topcoat.http import connect
from topcoat.http.errors import ConnectTimeout, TooSlow
from topcoat.http.origin import Origin
from topcoat.http.pool import Pool, Response
from topcoat.http.request import Request
from topcoat.http.tls import TLSSettings
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.registry.client import RegistryClient

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
_STEP_S = 0.05


@contextmanager
def _slow_server(*parts: bytes, drip: bytes = b"x", connections: int = 1) -> Iterator[tuple[str, threading.Event]]:
    """Answer each request with *parts*, then with one byte of *drip* at a time until the client hangs up."""
    ended = threading.Event()

    def handle(connection: Any) -> None:
        try:
            read_request(connection)
            for part in parts:
                connection.sendall(part)
            position = 0
            while not ended.wait(_STEP_S):
                connection.sendall(drip[position % len(drip) :][:1])
                position += 1
        except OSError:
            ended.set()

    with scripted_server(*[handle] * connections) as host:
        yield host, ended
        ended.set()


def _exchange(host: str, act: Callable[[Response], object] = lambda response: None) -> object:
    pool = Pool(Origin.of(f"http://{host}"), TLSSettings())
    try:
        return act(pool.exchange(Request("GET", f"http://{host}/", {})))
    finally:
        pool.close()


@pytest.fixture(autouse=True)
def _low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.http.connection.NOTICE_AFTER_S", 0.1)
    monkeypatch.setattr("topcoat.http.rate.NOTICE_AFTER_S", 0.1)


def test_interim_responses_do_not_prolong_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.http.pool.RESPONSE_TIMEOUT_S", 0.5)
    with _slow_server(drip=b"HTTP/1.1 102 Processing\r\n\r\n") as (host, _), pytest.raises(TimeoutError):
        _exchange(host)


def test_a_document_that_drips_above_the_minimum_rate_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.http.rate.MIN_BYTES_PER_SECOND", 1)
    monkeypatch.setattr("topcoat.http.rate.DOCUMENT_TIMEOUT_S", 0.3)
    with _slow_server(_HEAD) as (host, _), pytest.raises(TooSlow):
        _exchange(host, lambda response: response.read_all(100_000))


def test_closing_a_response_that_drips_takes_no_time_and_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.http.pool._DRAIN_TIMEOUT_S", 0.1)
    with _slow_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n") as (host, ended):
        _exchange(host, lambda response: response.close())
        assert ended.wait(60)


def test_waiting_for_a_response_is_announced_once_with_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.http.pool.RESPONSE_TIMEOUT_S", 0.4)

    ended = threading.Event()

    def handle(connection: Any) -> None:
        read_request(connection)
        ended.wait(60)

    with scripted_server(handle) as host, recorded_notices() as notices:
        with pytest.raises(TimeoutError):
            _exchange(host)
        ended.set()
    assert notices == [f"waiting for {host}"]


def test_a_slow_transfer_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.http.rate.WINDOW_S", 0.4)
    with _slow_server(_HEAD) as (host, _), recorded_notices() as notices, pytest.raises(TooSlow):
        _exchange(host, lambda response: response.read_all(100_000))
    assert set(notices) == {f"waiting for {host}"}


def test_a_fast_transfer_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.http.connection.NOTICE_AFTER_S", 60.0)
    monkeypatch.setattr("topcoat.http.rate.NOTICE_AFTER_S", 60.0)

    def handle(connection: Any) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with scripted_server(handle) as host, recorded_notices() as notices:
        assert _exchange(host, lambda response: response.read_all(9)) == b"hello"
    assert notices == []


@pytest.mark.parametrize("limit", ["http.rate.WINDOW_S", "http.rate.DOCUMENT_TIMEOUT_S"])
def test_a_config_that_drips_is_not_read_again_and_again(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(f"topcoat.{limit}", 0.3)
    if limit == "http.rate.DOCUMENT_TIMEOUT_S":
        monkeypatch.setattr("topcoat.http.rate.MIN_BYTES_PER_SECOND", 1)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    # A second request would wait for a connection that nobody accepts.
    with (
        _slow_server(head) as (host, _),
        RegistryClient(host) as client,
        pytest.raises(RegistryUnavailable, match="slower"),
    ):
        client.get_blob("app", Descriptor("", sha256_digest(b"x" * 1000), 1000))


def test_an_error_whose_text_drips_is_still_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.registry.failures._ERROR_TIMEOUT_S", 0.2)
    head = b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    with _slow_server(head) as (host, _), RegistryClient(host) as client, pytest.raises(Exception, match="409"):
        client.get_manifest("app", "1")


def test_a_name_that_is_not_resolved_ends_and_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.http.connect.NOTICE_AFTER_S", 0.1)
    answered = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **options: answered.wait(30))
    with recorded_notices() as notices, pytest.raises(ConnectTimeout):
        connect.connect("registry.invalid", 443, 0.3)
    assert notices == ["waiting for the name of registry.invalid to be resolved"]
    answered.set()
