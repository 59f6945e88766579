"""Answer a registry's challenge: Basic, or a bearer token from its token service.

The first request is sent without credentials. A 401 states scheme, realm and service; from then on tokens are fetched
before they are needed. Sources: RFC 9110 section 11, RFC 6750, and the distribution project's token and OAuth 2
specifications.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

from topcoat.errors import AuthenticationFailed, CredentialError, RegistryError
from topcoat.foreign_text import escaped, parse_json
from topcoat.http.origin import basic
from topcoat.http.pool import Response
from topcoat.http.request import Body
from topcoat.registry import trust
from topcoat.registry.credentials import Credential, Keyring
from topcoat.registry.failures import NETWORK_ERRORS, no_response, refusal
from topcoat.registry.headers import Challenge, is_token, parse_challenges
from topcoat.registry.transport import Transport

_DEFAULT_LIFETIME_S = 60.0
_MAX_LIFETIME_S = 24 * 3600.0
# A token is renewed when this share of its life is left, so that it does not expire during a request.
_MARGIN = 0.1
_MAX_TOKEN_BYTES = 2**20
# As in containerd: 404 from Google, 401 from Artifactory, 400 from Azure.
_NO_OAUTH = frozenset({400, 401, 404, 405})

Scopes = tuple[tuple[str, str], ...]
"""Pairs of repository and action (``pull``, ``push``), the most important first."""


class _Token(NamedTuple):
    scopes: frozenset[tuple[str, str]]
    header: str
    expires: float


class Authenticator:
    """Makes the ``Authorization`` header for one registry. Threads may share it.

    Attributes:
        user: whose credentials were used: empty before the first challenge, ``anonymous`` without credentials.
    """

    def __init__(self, registry: str, transport: Transport, keyring: Keyring) -> None:
        self._registry = registry
        self._transport = transport
        self._keyring = keyring
        self._lock = threading.Lock()
        self._fetch_locks: dict[frozenset[tuple[str, str]], threading.Lock] = {}
        self._challenge: Challenge | None = None
        # A challenge in plain HTTP says nothing about the registry once it is reached by TLS.
        self._challenged_at = ""
        self._tokens: list[_Token] = []
        self._registry_scopes: dict[frozenset[tuple[str, str]], tuple[str, ...]] = {}
        self.user = ""
        self._secrets: set[str] = set()

    @property
    def secrets(self) -> tuple[str, ...]:
        """All secrets sent so far, which must never be shown; the longest first."""
        return tuple(sorted(self._secrets, key=len, reverse=True))

    def header(self, scopes: Scopes) -> str:
        """Return the ``Authorization`` header for *scopes*, empty before the first challenge.

        Raises:
            AuthenticationFailed: a login is missing, or the token service refuses it.
            CredentialError: a credential store fails.
            RegistryUnavailable: the token service does not respond.
        """
        challenge = self._challenge
        if challenge is None or self._challenged_at != self._transport.base:
            return ""
        credential = self._credential(scopes)
        if credential is not None and credential.registry_token:
            if not is_token(credential.registry_token):
                raise CredentialError(
                    f"the stored token of {self._registry} has characters that cannot be sent",
                    hint=f"log in again: docker login {self._registry}",
                )
            return self._record(f"Bearer {credential.registry_token}")
        if challenge.scheme == "basic":
            if credential is None or not credential.password:
                raise AuthenticationFailed(
                    f"{self._registry} needs a login", hint=f"docker login {self._registry}", status=401
                )
            return self._record(basic(credential.username, credential.password))
        needed = frozenset(scopes)
        with self._lock:
            fetch_lock = self._fetch_locks.setdefault(needed, threading.Lock())
        # Threads that need the same token wait for one request.
        with fetch_lock:
            return self._cached(needed) or self._fetch(challenge, scopes, credential)

    def challenged(self, response: Response, scopes: Scopes, sent: str) -> bool:
        """Read the challenge of a 401; return whether to send the request again with a new header.

        *scopes* are what the request needs; *sent* is the refused ``Authorization`` header, empty for none.

        Raises:
            AuthenticationFailed: the registry offers no supported scheme.
            RegistryError: the token service has an invalid address, or one that must not be contacted.
        """
        challenge = self._chosen(response)
        if challenge is None:
            return False
        with self._lock:
            self._challenge, self._challenged_at = challenge, self._transport.base
            self._tokens = [token for token in self._tokens if token.header != sent]
            own_scopes = {f"{name}:{action}" for name, action in scopes}
            # A registry may have another name for what the request needs.
            self._registry_scopes[frozenset(scopes)] = tuple(
                scope for scope in challenge.params.get("scope", "").split() if not _is_covered(scope, own_scopes)
            )
        if not sent:
            return True
        credential = self._credential(scopes)
        # Another token cannot be had for a password, or would allow no more.
        is_final = challenge.scheme == "basic" or challenge.params.get("error") == "insufficient_scope"
        return not is_final and not (credential and credential.registry_token)

    def check_login(self, response: Response) -> None:
        """Check that a login may go where the challenge of a 401 sends it; errors are those of `challenged`."""
        challenge = self._chosen(response)
        if challenge is not None and challenge.scheme == "bearer":
            trust.check_token_service(challenge.params["realm"], self._transport.base, has_credential=True)

    def _chosen(self, response: Response) -> Challenge | None:
        """Return the challenge of a 401 that is answered, None if there is none."""
        if not trust.may_challenge(response, self._transport.base):
            return None
        challenges = parse_challenges(response.headers("WWW-Authenticate"))
        by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
        challenge = by_scheme.get("bearer") or by_scheme.get("basic")
        if challenges and challenge is None:
            schemes = escaped(" or ".join(by_scheme), 80)
            raise AuthenticationFailed(
                f"{self._registry} wants {schemes} authentication; Basic and Bearer are supported",
                status=401,
            )
        if challenge is None or challenge.scheme == "basic":
            return challenge
        realm = self._transport.check(challenge.params.get("realm", ""), source=response.url)
        return Challenge("bearer", {**challenge.params, "realm": realm})

    def _credential(self, scopes: Scopes) -> Credential | None:
        credential = self._keyring.get(self._registry, scopes[0][0] if scopes else "")
        self.user = (credential.username or "the owner of the stored token") if credential else "anonymous"
        for secret in credential.secrets if credential else ():
            # A server may repeat it as it was sent in a form.
            self._secrets.update((secret, quote_plus(secret, errors="surrogatepass")))
        return credential

    def _cached(self, needed: frozenset[tuple[str, str]]) -> str:
        now = time.monotonic()
        with self._lock:
            return next((token.header for token in self._tokens if needed <= token.scopes and now < token.expires), "")

    def _fetch(self, challenge: Challenge, scopes: Scopes, credential: Credential | None) -> str:
        needed = frozenset(scopes)
        document = self._request(challenge, (*self._registry_scopes.get(needed, ()), *_scope_names(scopes)), credential)
        token = document.get("token") or document.get("access_token")
        if not is_token(token):
            raise AuthenticationFailed(f"the token service of {self._registry} sent no usable token")
        lifetime = document.get("expires_in")
        if not isinstance(lifetime, (int, float)) or not lifetime > 0:
            lifetime = _DEFAULT_LIFETIME_S
        lifetime = min(lifetime, _MAX_LIFETIME_S)
        header = self._record(f"Bearer {token}")
        new = _Token(needed, header, time.monotonic() + lifetime * (1 - _MARGIN))
        with self._lock:
            self._tokens = [old for old in self._tokens if not old.scopes <= needed] + [new]
        return header

    def _request(
        self, challenge: Challenge, names: tuple[str, ...], credential: Credential | None
    ) -> dict[str, object]:
        realm, service = challenge.params["realm"], challenge.params.get("service", "")
        has_credential = credential is not None
        trust.check_token_service(realm, self._transport.base, has_credential=has_credential)
        headers = {}
        if credential is not None and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credential.identity_token,
                "service": service,
                "scope": " ".join(names),
                "client_id": "topcoat",
            }
            form_headers = {"Content-Type": "application/x-www-form-urlencoded"}
            body = Body(urlencode(form, errors="surrogatepass").encode())
            response = self._transport.send("POST", realm, form_headers, body, bound=True)
            # Not every token service supports OAuth 2; the older form takes the token as a password.
            if response.status not in _NO_OAUTH:
                return self._document(response, "POST", names)
            response.close()
        if credential is not None:
            password = credential.identity_token or credential.password
            headers["Authorization"] = self._record(basic(credential.username, password))
        fields = [*([("service", service)] if service else []), *(("scope", name) for name in names)]
        query = urlencode(fields, errors="surrogatepass")
        url = realm + ("&" if "?" in realm else "?") + query
        return self._document(self._transport.send("GET", url, headers, bound=has_credential), "GET", names)

    def _document(self, response: Response, method: str, names: tuple[str, ...]) -> dict[str, object]:
        if response.status != 200:
            # A registry may ask for scopes of its own.
            scope = escaped(", ".join(names)) or "anything"
            error = refusal(response, method, self._registry, scope, user=self.user, secrets=self.secrets)
            if 400 <= response.status < 500 and not error.temporary and response.status not in (401, 403):
                error.hint = f"docker login {self._registry}"
            raise error
        try:
            document = parse_json(response.read_all(_MAX_TOKEN_BYTES))
        except NETWORK_ERRORS as error:
            raise no_response(error, method, response.url, self._transport.host) from error
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise RegistryError(f"the token service of {self._registry} did not send a JSON object")
        return document

    def _record(self, header: str) -> str:
        """Return *header*, after adding its value to the secrets."""
        self._secrets.add(header.partition(" ")[2])
        return header


def _scope_names(scopes: Scopes) -> tuple[str, ...]:
    by_repository: dict[str, list[str]] = {}
    for name, action in scopes:
        by_repository.setdefault(name, []).append(action)
    return tuple(f"repository:{name}:{','.join(sorted(actions))}" for name, actions in by_repository.items())


def _is_covered(scope: str, own_scopes: set[str]) -> bool:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return kind == "repository" and all(f"{name}:{action}" in own_scopes for action in actions.split(","))
