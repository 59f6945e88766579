"""One registry's requests, authenticated: what the client's methods are made of."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.errors import RegistryError
from topcoat.http.pool import Body, Response
from topcoat.registry.auth import Authenticator, Scopes
from topcoat.registry.credentials import Keyring
from topcoat.registry.failures import is_network_error, refusal, unreachable
from topcoat.registry.transport import Transport, origin_of


class AuthenticatedClient:
    """Sends requests to one registry and logs in when it is asked to. Threads may share it."""

    def __init__(self, registry: str, transport: Transport, keyring: Keyring) -> None:
        self.registry = registry
        self.transport = transport
        self._auth = Authenticator(registry, transport, keyring)
        self._pushed: set[str] = set()

    def scopes(self, repository: str, *, push: bool = False) -> Scopes:
        """Return the rights that a request needs: to pull, and to push once *repository* is known to be written to."""
        if push:
            self._pushed.add(repository)
        # One token for both then, instead of one for each.
        return ((repository, "pull"), (repository, "push")) if repository in self._pushed else ((repository, "pull"),)

    def call(
        self,
        method: str,
        where: str,
        scopes: Scopes,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        *,
        retry: bool = True,
    ) -> Response:
        """Send a request, once more with a fresh token where the answer is 401, and return the answer.

        Args:
            method: of the request.
            where: a path on the registry, or a URL; credentials go to the registry's own origin alone.
            scopes: what the token must allow.
            headers: besides ``Authorization``.
            body: of the request.
            retry: whether to try again later where the registry or the connection is in trouble.
        """
        ours = where.startswith("/") or origin_of(where) == origin_of(self.transport.base)
        first = True
        while True:
            sent = self._auth.header(scopes) if ours else ""
            signed = {**(headers or {}), "Authorization": sent} if sent else headers or {}
            response = self.transport.send(method, where, signed, body, retry=retry)
            if response.status != 401 or not first or not ours:
                return response
            try:
                if not self._auth.challenged(response, scopes, sent):
                    return response
            except BaseException:
                response.close()
                raise
            response.close()
            first = False

    def accept(self, response: Response, method: str, repository: str) -> None:
        """Close a response that says yes.

        Raises:
            RegistryError: it says no.
        """
        if not 200 <= response.status < 300:
            raise self.refusal(response, method, repository)
        response.close()

    def fetch(self, where: str, scopes: Scopes, headers: Mapping[str, str], *, limit: int) -> tuple[Response, bytes]:
        """GET a small document; return the answer and, if it is 200, its body, of which *limit* bytes at most.

        Raises:
            RegistryUnavailable: the connection broke within the body, twice.
        """
        response = self.call("GET", where, scopes, headers)
        if response.status != 200:
            return response, b""
        try:
            return response, response.read_all(limit)
        except Exception as error:
            if not is_network_error(error):
                raise
        response = self.call("GET", where, scopes, headers)
        try:
            return response, response.read_all(limit)
        except Exception as error:
            if not is_network_error(error):
                raise
            raise unreachable(error, "GET", response.url) from error

    def refusal(self, response: Response, method: str, repository: str) -> RegistryError:
        """Return the error that a response stands for."""
        auth = self._auth
        return refusal(response, method, self.registry, repository, who=auth.user, secrets=auth.secrets)
