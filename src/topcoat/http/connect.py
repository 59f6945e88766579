"""Connect to the first address of a host that responds, without waiting for dead ones (RFC 8305, "happy eyeballs")."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from topcoat.http.errors import ConnectTimeout
from topcoat.http.origin import is_loopback
from topcoat.http.rate import NOTICE_AFTER_S
from topcoat.notices import notice
from topcoat.tasks import Task

if TYPE_CHECKING:
    import socket

    Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]

# The next address is tried beside one that has not responded within this time.
_NEXT_ADDRESS_S = 0.25
# The address of a host that worked last is tried first.
_last_address: dict[tuple[str, int], object] = {}


def connect(
    host: str, port: int, timeout: float, check_address: Callable[[str], None] = lambda address: None
) -> socket.socket:
    """Return a connected socket to *host*, a name or an address, within *timeout* seconds.

    *check_address* gets each resolved address before any is connected to, and raises to refuse the host.

    Raises:
        OSError: the name cannot be resolved, or no address can be connected to.
    """
    import selectors
    import socket

    deadline = time.monotonic() + timeout
    found = _resolve(host, port, timeout)
    for info in found:
        check_address(str(info[4][0]))
    last = _last_address.get((host, port))
    left = sorted(found, key=lambda info: info[4] != last)
    errors: list[OSError] = []
    notice_at = time.monotonic() + NOTICE_AFTER_S
    sockets: list[socket.socket] = []
    with selectors.DefaultSelector() as selector:
        try:
            while left or selector.get_map():
                if left:
                    family, kind, protocol, _, address = left.pop(0)
                    try:
                        sock = socket.socket(family, kind, protocol)
                        sockets.append(sock)
                        sock.setblocking(False)
                        sock.connect(address)
                    except BlockingIOError:
                        pass
                    except OSError as error:
                        errors.append(error)
                        continue
                    selector.register(sock, selectors.EVENT_WRITE, address)
                wait = deadline - time.monotonic()
                if wait <= 0:
                    errors.append(ConnectTimeout("timed out"))
                    break
                if time.monotonic() >= notice_at:
                    notice(f"waiting for {host}")
                    notice_at = deadline
                until_notice = max(0.0, notice_at - time.monotonic())
                for ready, _ in selector.select(min(wait, _NEXT_ADDRESS_S if left else until_notice)):
                    sock = cast("socket.socket", ready.fileobj)
                    selector.unregister(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code:
                        errors.append(OSError(code, os.strerror(code)))
                        continue
                    _last_address[host, port] = ready.data
                    sockets.remove(sock)
                    sock.settimeout(timeout)
                    return sock
        finally:
            for sock in sockets:
                sock.close()
    # An unreachable IPv6 network says less than the refusal of the other address.
    raise next((error for error in errors if isinstance(error, (ConnectionRefusedError, TimeoutError))), errors[-1])


def _resolve(host: str, port: int, timeout: float) -> Addresses:
    """Return the addresses of *host*; a name is looked up in a thread, because ^C does not end the resolver."""
    import socket

    # As bytes, a plain name avoids the import of the codec for international names.
    name = host.encode() if host.isascii() else host

    def resolve() -> Addresses:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)

    if is_loopback(host):
        return resolve()
    lookup = Task(resolve)
    lookup.wait(min(timeout, NOTICE_AFTER_S))
    if lookup.is_running:
        notice(f"waiting for the name of {host} to be resolved")
        lookup.wait(max(0.0, timeout - NOTICE_AFTER_S))
    if lookup.is_running:
        raise ConnectTimeout(f"the name {host} is not resolved within {timeout:g} s")
    return lookup.result()
