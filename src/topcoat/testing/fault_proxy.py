"""A proxy in front of a registry, real or fake, that injects faults into single requests.

::

    with FaultProxy("127.0.0.1:5000") as proxy:
        proxy.faults.inject("reset-after", at=7)
        ...  # talk to proxy.host
"""

from __future__ import annotations

import http.client

from topcoat.testing.fault_server import FaultHandler, FaultServer
from topcoat.testing.faults import Faults
from topcoat.testing.registry_messages import Response

_TIMEOUT_S = 60.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"})


class FaultProxy:
    """Passes requests to the registry at *upstream* (``host:port``, plain HTTP), while its ``with`` block runs.

    Requests keep their ``Host``, so the registry makes its own URLs with the proxy's name.

    Attributes:
        host: ``127.0.0.1:PORT``.
        faults: what to do to the n-th request, see `topcoat.testing.faults`.
        requests: method and path of each request, in order.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        self.host = ""

    def __enter__(self) -> FaultProxy:
        self._server = _ProxyServer(self)
        self.host = self._server.host
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def end_faults(self) -> None:
        """Forget all faults, and accept connections again."""
        self._server.end_faults()


class _ProxyServer(FaultServer):
    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(_ProxyHandler, proxy.faults)


class _ProxyHandler(FaultHandler):
    server: _ProxyServer

    def record(self, status: int) -> None:
        self.server.proxy.requests.append((self.command, self.path))

    def respond(self) -> Response:
        body = self.read_body()
        upstream = http.client.HTTPConnection(self.server.proxy.upstream, timeout=_TIMEOUT_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, self.path, body or None, headers)
            response = upstream.getresponse()
            fields = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
            length = response.getheader("Content-Length")
            if self.command == "HEAD" and length:
                fields["Content-Length"] = length
            return Response(response.status, response.read(), fields)
        finally:
            upstream.close()
