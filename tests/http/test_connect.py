"""Addresses of one host: dead ones are not waited for."""

import contextlib
import socket

import pytest

from topcoat.http import connect as connect_module
from topcoat.http.connect import connect
from topcoat.http.errors import ConnectTimeout


@contextlib.contextmanager
def _dead(port=0):
    """Yield the port of a server on 127.0.0.2 that neither accepts nor refuses: its queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def two_addresses(monkeypatch):
    """Resolve reg.corp to a dead address and to one that accepts; record which addresses are connected to."""
    monkeypatch.setattr(connect_module, "_last_address", {})
    tried = []

    class Recorded(socket.socket):
        def connect(self, address):
            tried.append(address[0])
            super().connect(address)

    # The port is chosen on 127.0.0.1, where other processes have theirs.
    with socket.create_server(("127.0.0.1", 0)) as server, _dead(server.getsockname()[1]) as port:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **keys: found)
        monkeypatch.setattr(socket, "socket", Recorded)
        yield port, tried


def test_the_next_address_is_tried_beside_a_dead_one_and_is_tried_first_from_then_on(two_addresses):
    port, tried = two_addresses
    for _ in range(2):
        with connect("reg.corp", port, 30) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert sock.gettimeout() == 30
    assert tried == ["127.0.0.2", "127.0.0.1", "127.0.0.1"]


def test_a_refused_address_leads_to_the_next_one(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.3", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **keys: found)
        with connect("reg.corp", port, 30) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)


def test_a_refusal_is_reported_rather_than_an_unreachable_network(monkeypatch):
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("100::1", 1, 0, 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **keys: found)
    with pytest.raises(ConnectionRefusedError):
        connect("reg.corp", 1, 30)


def test_no_address_that_responds_in_time_is_a_timeout():
    with _dead() as port, pytest.raises(ConnectTimeout):
        connect("127.0.0.2", port, 0.05)


def test_a_refused_host_is_not_connected_to(two_addresses):
    port, tried = two_addresses

    def refuse(address):
        if address == "127.0.0.1":
            raise PermissionError(address)

    with pytest.raises(PermissionError):
        connect("reg.corp", port, 30, refuse)
    assert tried == []
