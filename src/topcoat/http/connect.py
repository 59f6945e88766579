"""Connect to the first address of a host that responds, without waiting for dead ones (RFC 8305, "happy eyeballs")."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from topcoat.http.errors import ConnectTimeout

if TYPE_CHECKING:
    import socket

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

    # As bytes, a plain name avoids the import of the codec for international names.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    for info in found:
        check_address(str(info[4][0]))
    last = _last_address.get((host, port))
    left = sorted(found, key=lambda info: info[4] != last)
    errors: list[OSError] = []
    deadline = time.monotonic() + timeout
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
                for ready, _ in selector.select(min(wait, _NEXT_ADDRESS_S) if left else wait):
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
