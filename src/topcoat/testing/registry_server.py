"""The HTTP side of the registry in memory: connections, faults and authentication."""

from __future__ import annotations

import base64
import json
import ssl
import time
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from urllib.parse import parse_qs, parse_qsl, urlsplit

from topcoat.testing.fault_server import FaultHandler, FaultServer
from topcoat.testing.registry_messages import Request, Response, error
from topcoat.testing.registry_routes import respond
from topcoat.testing.registry_state import Fault, RecordedRequest, RegistryState, Token


class Server(FaultServer):
    """A listening socket of a fake registry; *storage* selects the storage host, which has no faults of its own."""

    def __init__(self, registry: RegistryState, *, storage: bool, tls: ssl.SSLContext | None) -> None:
        self.registry = registry
        self.storage = storage
        super().__init__(Handler, None if storage else registry.faults, tls=tls)


class Handler(FaultHandler):
    """Handle the requests of one connection."""

    server: Server

    def handle_request(self) -> None:
        """Respond, or cut the connection as `RegistryState.fail` and `RegistryState.cut` say."""
        registry = self.server.registry
        self._sent = 0
        fault = registry.take_fault(self.command, self.path)
        if fault is not None and fault.after is None:
            return self._cut(fault)
        length, limit = int(self.headers.get("Content-Length") or 0), registry.put_limit
        if limit is not None and length > limit:
            # As proxies do: respond first, then read the rest of the body, so that the client gets the response.
            self.write(_with_header(error(413, "SIZE_INVALID", "request entity too large"), "Connection", "close"))
            self.wfile.flush()
            self.read_body()
            self.close_connection = True
            return None
        response = self.respond()
        if fault is None:
            return self.write(response)
        self.record(response.status)
        head, _, body = self.encode(response).partition(b"\r\n\r\n")
        self.wfile.write(head + b"\r\n\r\n" + body[: fault.after])
        return self.hang_up()

    def respond(self) -> Response:
        """Handle the request, without faults."""
        self._sent = 0
        parts = urlsplit(self.path)
        response = self._response(parts.path, dict(parse_qsl(parts.query)), self.read_body())
        if response.status >= 400 and "html-errors" in self.server.registry.quirks:
            headers = {**response.headers, "Content-Type": "text/html"}
            return Response(response.status, f"<html><h1>{response.status}</h1></html>".encode(), headers)
        if self.command == "HEAD" and "no-length-header" in self.server.registry.quirks:
            return _with_header(response, "Content-Length", "")
        return response

    def _response(self, path: str, query: Mapping[str, str], body: bytes) -> Response:
        registry = self.server.registry
        if path == "/token":
            return self._token(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if registry.take_rate_limit(self.command):
            dated = "rate-limit-date" in registry.quirks
            wait = formatdate(time.time() + 5, usegmt=True) if dated else "0"
            return _with_header(error(429, "TOOMANYREQUESTS", "rate exceeded"), "Retry-After", wait)
        is_user, storage = self._sent_by_user(), self.server.storage
        request = Request(registry, self.command, self.path, query, headers, body, storage, is_user, self._is_allowed)
        actions = {request.action}
        if "unauthorized-for-missing" in registry.quirks and request.repository not in registry.repositories:
            actions.add("push")
        if storage:
            if "Authorization" in self.headers:
                return error(400, "UNSUPPORTED", "only one way to authenticate is allowed")
        elif not all(self._is_allowed(request.repository, action) for action in actions):
            return self._challenge(request)
        elif registry.auth == "bearer":
            registry.tokens[self._authorization()[1]].uses.append(self.path)
        # The response is written after the lock is released: the client may read it only after another response.
        with registry.lock:
            return respond(request)

    def _is_allowed(self, repository: str, action: str) -> bool:
        registry = self.server.registry
        scheme, value = self._authorization()
        if registry.auth == "none":
            return True
        if registry.auth == "basic":
            return scheme == "Basic" and self._is_user(value)
        token = registry.tokens.get(value)
        if scheme != "Bearer" or token is None or time.monotonic() >= token.expires_at:
            return False
        used_up = registry.token_uses is not None and len(token.uses) >= registry.token_uses
        return not used_up and (not repository or (repository, action) in token.scopes)

    def _authorization(self) -> tuple[str, str]:
        scheme, _, value = (self.headers.get("Authorization") or "").partition(" ")
        return scheme, value

    def _sent_by_user(self) -> bool:
        token = self.server.registry.tokens.get(self._authorization()[1])
        return token.is_user if token else "Authorization" in self.headers

    def _is_user(self, value: str, *, token: bool = False) -> bool:
        registry = self.server.registry
        username, _, password = base64.b64decode(value).decode().partition(":")
        if token and password == registry.identity_token:
            return True
        return (username, password) == (registry.username, registry.password)

    def _challenge(self, request: Request) -> Response:
        registry = self.server.registry
        challenge = 'Basic realm="fake registry"'
        if registry.auth == "bearer":
            host = registry.storage_host if "token-elsewhere" in registry.quirks else registry.host
            challenge = f'Bearer realm="{registry.scheme}://{host}/token",service="fake"'
            if request.repository:
                actions = "pull" if request.action == "pull" else "pull,push"
                challenge += f',scope="repository:{request.repository}:{actions}"'
            if "two-challenges" in registry.quirks:
                challenge = f'Basic realm="fake registry", {challenge}'
        return _with_header(error(401, "UNAUTHORIZED", "authentication required"), "WWW-Authenticate", challenge)

    def _token(self, body: bytes) -> Response:
        """Respond as a token service: to GET with or without Basic credentials, and to OAuth 2 with a refresh token."""
        registry = self.server.registry
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        if self.command == "POST":
            if "no-oauth" in registry.quirks:
                return error(404, "UNSUPPORTED", "page not found")
            form = dict(parse_qsl(body.decode()))
            scopes = form.get("scope", "").split()
            is_user = form.get("refresh_token") == registry.identity_token
        else:
            is_user = self._is_user(self._authorization()[1], token=True)
        if not is_user and (self.command == "POST" or "Authorization" in self.headers):
            return error(401, "UNAUTHORIZED", "incorrect username or password")
        granted: set[tuple[str, str]] = set()
        for scope in scopes[:1] if "first-scope-only" in registry.quirks else scopes:
            name, _, actions = scope.removeprefix("repository:").rpartition(":")
            allowed = [a for a in actions.split(",") if is_user or (registry.public and a == "pull")]
            granted |= {(name, action) for action in allowed}
        token, seconds = uuid.uuid4().hex, registry.token_seconds
        registry.tokens[token] = Token(frozenset(granted), time.monotonic() + seconds, is_user, [])
        document: dict[str, object] = {"token": token, "expires_in": seconds}
        if "access-token" in registry.quirks:
            document = {"access_token": token}
        return Response(200, json.dumps(document).encode())

    def _cut(self, fault: Fault) -> None:
        self.read_body()
        if fault.status:
            return self.write(Response(fault.status, fault.body, fault.headers))
        self.record(0)
        return self.hang_up()

    def read_body(self) -> bytes:
        """Read the body of the request, and count it."""
        data = super().read_body()
        self._sent += len(data)
        return data

    def record(self, status: int) -> None:
        """Record the request with the status of its response."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = RecordedRequest(self.command, self.path, status, self._sent, headers, self.server.host)
        self.server.registry.record(request)


def _with_header(response: Response, name: str, value: str) -> Response:
    return response._replace(headers={**response.headers, name: value})
