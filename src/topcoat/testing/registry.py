"""A registry in memory, with registry quirks and injected faults.

::

    with FakeRegistry(quirks={"no-mount"}) as registry:
        registry.add_image("base", "1")
        registry.fail(503, times=2, method="PUT")
        ...  # talk to registry.host
    assert [request.method for request in registry.requests] == ["HEAD", ...]
"""

from __future__ import annotations

import ssl

from topcoat.testing.registry_quirks import QUIRKS
from topcoat.testing.registry_server import Server
from topcoat.testing.registry_state import EMPTY_LAYER, RecordedRequest, RegistryState, Repository, Token

__all__ = ["EMPTY_LAYER", "QUIRKS", "FakeRegistry", "RecordedRequest", "Repository", "Token"]


class FakeRegistry(RegistryState):
    """An OCI distribution registry that listens on a free loopback port while its ``with`` block runs.

    Args:
        quirks: names from ``QUIRKS``.
        auth: ``none``, ``basic`` or ``bearer`` (with a token service at ``/token``).
        username: the user, who may do everything.
        password: of that user.
        identity_token: refresh token of that user.
        public: whether the token service lets anonymous clients pull.
        token_seconds: lifetime of a bearer token.
        token_uses: maximum number of requests with one bearer token.
        immutable_status: status for moving a tag, with the quirk ``immutable-tags``.
        put_limit: a larger request body gets 413.
        minimum_chunk: sent as ``OCI-Chunk-Min-Length``; a smaller chunk gets 416 unless it is the last.
        tls: files with a certificate and its key.

    Attributes:
        host: ``127.0.0.1:PORT``.
        storage_host: the second host, which some quirks use; it serves the same content and refuses credentials.
        requests: the requests received, in order.
        repositories: by name.
        blobs: content by digest.
        uploads: open upload sessions by id.
        tokens: bearer tokens by value.
        faults: what to do to its n-th request, see `topcoat.testing.faults`.

    Raise ``ValueError`` for an unknown quirk or ``auth``.
    """

    def __enter__(self) -> FakeRegistry:
        context = None
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
        self._servers = [Server(self, storage=storage, tls=context) for storage in (False, True)]
        self.host, self.storage_host = [server.host for server in self._servers]
        return self

    def end_faults(self) -> None:
        """Forget the faults of `faults`, and accept connections again."""
        self._servers[0].end_faults()

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.stop()
