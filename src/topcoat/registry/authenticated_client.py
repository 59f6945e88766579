"""Authenticated requests to one registry, which the client's methods are made of."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.errors import RegistryError
from topcoat.http.pool import Response
from topcoat.http.request import Body
from topcoat.registry import trust
from topcoat.registry.auth import Authenticator, Scopes
from topcoat.registry.credentials import Keyring
from topcoat.registry.failures import NETWORK_ERRORS, no_response, refusal
from topcoat.registry.transport import Transport

# The first asks for a token, and another one may refuse a token that not every server behind the name knows yet.
_MAX_CHALLENGES = 2


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
        """Send a request, after a 401 with a fresh token, and return the response.

        *where* is a path on the registry, or a URL; credentials go to the registry's own origin only. The token
        allows to pull from *repository* and from *source*, and with *push* to push to *repository*. *retry* is as
        for `Transport.send`.
        """
        if push:
            self.expect_push(repository)
        scopes: Scopes = ((repository, "pull"),)
        scopes += ((repository, "push"),) if repository in self._pushed else ()
        scopes += ((source, "pull"),) if source else ()
        challenges = 0
        while True:
            # A redirect from http to https moves the registry, so this is asked each time.
            may_sign = where.startswith("/") or trust.may_sign(where, self.transport.base)
            header = self._auth.header(scopes) if may_sign else ""
            signed = {**(headers or {}), "Authorization": header} if header else headers or {}
            response = self.transport.send(method, where, signed, body, retry=retry)
            if response.status != 401 or not may_sign or challenges == _MAX_CHALLENGES:
                return response
            challenges += 1
            try:
                if not self._auth.challenged(response, scopes, header):
                    return response
            except BaseException:
                response.close()
                raise
            response.close()

    def check_login(self) -> None:
        """Check where the registry sends its login, without a login; see `Authenticator.check_login`."""
        response = self.transport.send("GET", "/v2/", {})
        response.close()
        if response.status == 401:
            self._auth.check_login(response)

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
                if retried or isinstance(error, TimeoutError):
                    raise no_response(error, "GET", response.url, self.transport.host) from error
                retried = True

    def refusal(self, response: Response, method: str, repository: str) -> RegistryError:
        """Return the error for an unsuccessful response."""
        auth = self._auth
        elsewhere = response.left_origin or not trust.may_sign(response.url, self.transport.base)
        return refusal(
            response, method, self.registry, repository, user=auth.user, secrets=auth.secrets, elsewhere=elsewhere
        )
