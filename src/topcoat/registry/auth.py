"""Answering a registry's challenge: Basic, or a bearer token from its token service.

Nothing is asked in advance: the first request goes out as it is, a 401 says what is wanted, and from then on
scheme, realm and service are known and tokens are fetched before they are needed. Sources: RFC 9110 section 11,
RFC 6750, and the distribution project's token and OAuth 2 specifications.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from topcoat.errors import AuthenticationFailed, RegistryError
from topcoat.http.pool import Body, Response
from topcoat.registry.credentials import Credential, Keyring, basic
from topcoat.registry.failures import refusal
from topcoat.registry.transport import Transport

# Compiled when the first registry asks for a login.
_ITEM = r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?"""
_TOKEN = r"[\x21-\x7e]+"
_SECONDS_WITHOUT_EXPIRY = 60.0
# A token is renewed this much before it ends, so that it does not end on the way.
_MARGIN = 0.1
_MOST_TOKEN_BYTES = 2**20

Scopes = tuple[tuple[str, str], ...]
"""Pairs of repository and action (``pull``, ``push``), the most wanted first."""


class Challenge(NamedTuple):
    """One way to authenticate that a ``WWW-Authenticate`` header offers; the scheme in lower case."""

    scheme: str
    params: Mapping[str, str]


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Read ``WWW-Authenticate`` headers, each of which may hold several challenges (RFC 9110 section 11.6.1)."""
    found: list[Challenge] = []
    for value in values:
        params: dict[str, str] | None = None
        for match in re.finditer(_ITEM, value):
            name, quoted, bare = match.groups()
            if quoted is None and bare is None:
                params = {}
                found.append(Challenge(name.lower(), params))
            elif params is not None:
                params[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return tuple(found)


class _Token(NamedTuple):
    scopes: frozenset[tuple[str, str]]
    header: str
    until: float


class Authenticator:
    """Makes the ``Authorization`` header for one registry. Threads may share it."""

    def __init__(self, registry: str, transport: Transport, keyring: Keyring) -> None:
        self._registry = registry
        self._transport = transport
        self._keyring = keyring
        self._lock = threading.Lock()
        self._fetching: dict[frozenset[tuple[str, str]], threading.Lock] = {}
        self._challenge: Challenge | None = None
        self._source = ""
        self._tokens: list[_Token] = []
        self._extra: dict[frozenset[tuple[str, str]], tuple[str, ...]] = {}
        self._user = ""
        self._secrets: set[str] = set()

    @property
    def user(self) -> str:
        """Who the registry was told we are: empty as long as it has not asked, ``anonymous`` without credentials."""
        return self._user

    @property
    def secrets(self) -> tuple[str, ...]:
        """What was sent and must never be shown, the longest first."""
        return tuple(sorted(self._secrets, key=len, reverse=True))

    def header(self, scopes: Scopes) -> str:
        """Return the ``Authorization`` header for *scopes*, empty as long as the registry has not asked for one.

        Raises:
            AuthenticationFailed: a login is needed, or the token service refuses the one there is.
            CredentialError: a credential store fails.
            RegistryUnavailable: the token service cannot be reached.
        """
        challenge = self._challenge
        if challenge is None:
            return ""
        credential = self._credential(scopes)
        if credential is not None and credential.registry_token:
            return self._bearer(credential.registry_token)
        if challenge.scheme == "basic":
            if credential is None or not credential.password:
                raise AuthenticationFailed(
                    f"{self._registry} needs a login", hint=f"docker login {self._registry}", status=401
                )
            return self._remembered(basic(credential.username, credential.password))
        needed = frozenset(scopes)
        with self._lock:
            fetching = self._fetching.setdefault(needed, threading.Lock())
        # Threads that need the same token wait for one request.
        with fetching:
            return self._cached(needed) or self._fetch(challenge, scopes, credential)

    def challenged(self, response: Response, scopes: Scopes, sent: str) -> bool:
        """Learn from a 401; return whether it is worth sending the request again with a new header.

        Args:
            response: the answer.
            scopes: what the request needs.
            sent: the ``Authorization`` header that was refused, empty for none.

        Raises:
            AuthenticationFailed: the registry wants a scheme that is not supported.
            RegistryError: the token service is not at an address that credentials may be sent to.
        """
        offered = parse_challenges(response.headers("WWW-Authenticate"))
        if not offered:
            return False
        by_scheme = {challenge.scheme: challenge for challenge in reversed(offered)}
        challenge = by_scheme.get("bearer") or by_scheme.get("basic")
        if challenge is None:
            raise AuthenticationFailed(
                f"{self._registry} wants {' or '.join(by_scheme)} authentication; Basic and Bearer are supported",
                status=401,
            )
        if challenge.scheme == "bearer":
            self._transport.check(challenge.params.get("realm", ""), source=response.url)
        with self._lock:
            self._challenge = challenge
            self._tokens = [token for token in self._tokens if token.header != sent]
            ours = {f"{name}:{action}" for name, action in scopes}
            # A registry may call what we asked for by another name.
            self._extra[frozenset(scopes)] = tuple(
                scope for scope in challenge.params.get("scope", "").split() if not _covered(scope, ours)
            )
        return not (sent and challenge.scheme == "basic")

    def _credential(self, scopes: Scopes) -> Credential | None:
        found = self._keyring.get(self._registry, scopes[0][0] if scopes else "")
        self._user = (found.username or "the owner of the stored token") if found else "anonymous"
        self._secrets.update(found.secrets if found else ())
        return found

    def _cached(self, needed: frozenset[tuple[str, str]]) -> str:
        now = time.monotonic()
        with self._lock:
            return next((t.header for t in self._tokens if needed <= t.scopes and now < t.until), "")

    def _fetch(self, challenge: Challenge, scopes: Scopes, credential: Credential | None) -> str:
        needed = frozenset(scopes)
        names = (*self._extra.get(needed, ()), *_written(scopes))
        answer = self._ask(challenge, names, credential)
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(_TOKEN, token):
            raise AuthenticationFailed(f"the token service of {self._registry} answered without a usable token")
        seconds = answer.get("expires_in")
        if not isinstance(seconds, (int, float)) or seconds <= 0:
            seconds = _SECONDS_WITHOUT_EXPIRY
        made = _Token(needed, self._bearer(token), time.monotonic() + seconds * (1 - _MARGIN))
        with self._lock:
            self._tokens = [token for token in self._tokens if not token.scopes <= needed] + [made]
        return made.header

    def _ask(self, challenge: Challenge, names: tuple[str, ...], credential: Credential | None) -> dict[str, object]:
        realm, service = challenge.params["realm"], challenge.params.get("service", "")
        if credential is not None and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credential.identity_token,
                "service": service,
                "scope": " ".join(names),
                "client_id": "topcoat",
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._transport.send("POST", realm, headers, Body(urlencode(form).encode()))
            # Not every token service speaks OAuth 2; the older form takes the token as a password.
            if response.status not in (404, 405):
                return self._answer(response, "POST", names)
            response.close()
            headers = {"Authorization": self._remembered(basic(credential.username, credential.identity_token))}
        elif credential is not None:
            headers = {"Authorization": self._remembered(basic(credential.username, credential.password))}
        else:
            headers = {}
        query = urlencode([*([("service", service)] if service else []), *(("scope", name) for name in names)])
        url = realm + ("&" if "?" in realm else "?") + query
        return self._answer(self._transport.send("GET", url, headers), "GET", names)

    def _answer(self, response: Response, method: str, names: tuple[str, ...]) -> dict[str, object]:
        if response.status != 200:
            what = ", ".join(names) or "anything"
            error = refusal(response, method, self._registry, what, who=self._user, secrets=self.secrets)
            if 400 <= response.status < 500 and not error.temporary and response.status not in (401, 403):
                error.hint = f"docker login {self._registry}"
            raise error
        try:
            document = json.loads(response.read_all(_MOST_TOKEN_BYTES))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise RegistryError(f"the token service of {self._registry} answered with something that is not JSON")
        return document

    def _bearer(self, token: str) -> str:
        return self._remembered(f"Bearer {token}")

    def _remembered(self, header: str) -> str:
        self._secrets.add(header.partition(" ")[2])
        return header


def _written(scopes: Scopes) -> tuple[str, ...]:
    actions: dict[str, list[str]] = {}
    for name, action in scopes:
        actions.setdefault(name, []).append(action)
    return tuple(f"repository:{name}:{','.join(sorted(found))}" for name, found in actions.items())


def _covered(scope: str, ours: set[str]) -> bool:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return kind == "repository" and all(f"{name}:{action}" in ours for action in actions.split(","))
