"""Authenticated requests to one registry, which the client's methods are made of."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.errors import RegistryError
from topcoat.http.origin import Origin
from topcoat.http.pool import Response
from topcoat.http.request import Body
from topcoat.registry.auth import Authenticator, Scopes
from topcoat.registry.credentials import Keyring
from topcoat.registry.failures import NETWORK_ERRORS, no_response, refusal
from topcoat.registry.transport import Transport


class AuthenticatedClient:
    """Sends requests to one registry and logs in when it is challenged. Threads may share it."""

    def __init__(self, registry: str, transport: Transport, keyring: Keyring) -> None:
        self.registry = registry
        self.transport = transport
        self._auth = Authenticator(registry, transport, keyring)
        self._pushed: set[str] = set()

    def expect_push(self, repository: str) -> None:
        """Ask for the right to push with every token for *repository* from now on: one token instead of two."""
        self._pushed.add(repository)

    def call(
        self,
        method: str,
        where: str,
        repository: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        *,
        push: bool = False,
        source: str = "",
        retry: bool = True,
    ) -> Response:
        """Send a request, once more with a fresh token after a 401, and return the response.

        *where* is a path on the registry, or a URL; credentials go to the registry's own origin only. The token
        allows to pull from *repository* and from *source*, and with *push* to push to *repository*. *retry* is as
        for `Transport.send`.
        """
        if push:
            self.expect_push(repository)
        scopes: Scopes = ((repository, "pull"),)
        scopes += ((repository, "push"),) if repository in self._pushed else ()
        scopes += ((source, "pull"),) if source else ()
        same_origin = where.startswith("/") or Origin.of(where) == Origin.of(self.transport.base)
        challenged = not same_origin
        while True:
            header = self._auth.header(scopes) if same_origin else ""
            signed = {**(headers or {}), "Authorization": header} if header else headers or {}
            response = self.transport.send(method, where, signed, body, retry=retry)
            if response.status != 401 or challenged:
                return response
            challenged = True
            try:
                if not self._auth.challenged(response, scopes, header):
                    return response
            except BaseException:
                response.close()
                raise
            response.close()

    def accept(self, response: Response, method: str, repository: str) -> None:
        """Close a successful response.

        Raises:
            RegistryError: it is not successful.
        """
        if not 200 <= response.status < 300:
            raise self.refusal(response, method, repository)
        response.close()

    def fetch(self, path: str, repository: str, headers: Mapping[str, str], *, limit: int) -> tuple[Response, bytes]:
        """GET a small document; return the response and, if its status is 200, at most *limit* bytes of its body.

        Raises:
            RegistryUnavailable: the connection broke within the body, twice.
        """
        retried = False
        while True:
            response = self.call("GET", path, repository, headers)
            if response.status != 200:
                return response, b""
            try:
                return response, response.read_all(limit)
            except NETWORK_ERRORS as error:
                if retried:
                    raise no_response(error, "GET", response.url) from error
                retried = True

    def refusal(self, response: Response, method: str, repository: str) -> RegistryError:
        """Return the error for an unsuccessful response."""
        auth = self._auth
        return refusal(response, method, self.registry, repository, user=auth.user, secrets=auth.secrets)
