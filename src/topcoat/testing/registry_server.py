"""The HTTP side of the registry in memory: connections, faults and authentication."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from topcoat.testing.registry_messages import Request, Response, error
from topcoat.testing.registry_routes import respond
from topcoat.testing.registry_state import Fault, RecordedRequest, RegistryState, Token


class Server(ThreadingHTTPServer):
    """A listening socket of a fake registry; *storage* selects the storage host."""

    daemon_threads = True

    def __init__(self, registry: RegistryState, *, storage: bool, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.registry = registry
        self.storage = storage
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self._open: set[socket.socket] = set()
        if tls:
            # The handshake runs in the connection's thread, so that a failing client does not block the others.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut the open connections."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            _cut(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Record the connection and handle it in a thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Remove the connection and close it."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore it: the tests let clients hang up."""


class Handler(BaseHTTPRequestHandler):
    """Handle the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Do not log: requests are recorded."""

    def do_GET(self) -> None:
        """Respond to a request of any method."""
        registry, parts = self.server.registry, urlsplit(self.path)
        self._sent = 0
        fault = registry.take_fault(self.command, self.path)
        if fault is not None and fault.after is None:
            return self._inject(fault)
        length, limit = int(self.headers.get("Content-Length") or 0), registry.put_limit
        if limit is not None and length > limit:
            # As proxies do: respond first, then read the rest of the body, so that the client gets the response.
            self._write(_with_header(error(413, "SIZE_INVALID", "request entity too large"), "Connection", "close"))
            self.wfile.flush()
            self._read(length)
            return None
        body = self._read(length)
        response = self._response(parts.path, dict(parse_qsl(parts.query)), body)
        if response.status >= 400 and "html-errors" in registry.quirks:
            headers = {**response.headers, "Content-Type": "text/html"}
            response = Response(response.status, f"<html><h1>{response.status}</h1></html>".encode(), headers)
        return self._write(response, after=fault.after if fault else None)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

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

    def _inject(self, fault: Fault) -> None:
        self._read(int(self.headers.get("Content-Length") or 0))
        if fault.status:
            return self._write(Response(fault.status, fault.body, fault.headers))
        self._record(0)
        return self._hang_up()

    def _read(self, length: int) -> bytes:
        data = self.rfile.read(length) if length else b""
        self._sent += len(data)
        return data

    def _write(self, response: Response, *, after: int | None = None) -> None:
        self._record(response.status)
        self.send_response(response.status)
        if self.command != "HEAD" or "no-length-header" not in self.server.registry.quirks:
            self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body[:after])
        if after is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        _cut(self.connection)

    def _record(self, status: int) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = RecordedRequest(self.command, self.path, status, self._sent, headers, self.server.host)
        self.server.registry.record(request)


def _with_header(response: Response, name: str, value: str) -> Response:
    return response._replace(headers={**response.headers, name: value})


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
