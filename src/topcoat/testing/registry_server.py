"""The HTTP side of the registry in memory: connections, faults, logins. What it stores is in ``registry_routes``."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from topcoat.testing.registry import Token
from topcoat.testing.registry_routes import Answer, Call, answer, error

if TYPE_CHECKING:
    from topcoat.testing.registry import FakeRegistry, Fault


class Server(ThreadingHTTPServer):
    """One listening socket of a fake registry; *storage* makes it the host that blobs are redirected to."""

    daemon_threads = True

    def __init__(self, registry: FakeRegistry, *, storage: bool, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.registry = registry
        self.storage = storage
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self._open: set[socket.socket] = set()
        if tls:
            # The handshake belongs to the connection's thread: a client that fails it must not stop the others.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut what is still connected."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            _cut(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection and give it a thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up in the middle are what this is for."""


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: requests are recorded."""

    def do_GET(self) -> None:
        """Answer any method."""
        registry, parts = self.server.registry, urlsplit(self.path)
        self._sent = 0
        fault = registry.take_fault(self.command, self.path)
        if fault is not None and fault.after is None:
            return self._go_wrong(fault)
        length, limit = int(self.headers.get("Content-Length") or 0), registry.put_limit
        if limit is not None and length > limit:
            # As proxies do: the answer first, then what is still coming is read, so that the answer is not lost.
            too_large = error(413, "SIZE_INVALID", "request entity too large")
            self._write(too_large._replace(headers={**too_large.headers, "Connection": "close"}))
            self.wfile.flush()
            self._read(length)
            return None
        body = self._read(length)
        reply = self._reply(parts.path, dict(parse_qsl(parts.query)), body)
        if reply.status >= 400 and "html-errors" in registry.quirks:
            headers = {**reply.headers, "Content-Type": "text/html"}
            reply = Answer(reply.status, f"<html><h1>{reply.status}</h1></html>".encode(), headers)
        return self._write(reply, after=fault.after if fault else None)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _reply(self, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        registry = self.server.registry
        if path == "/token":
            return self._token(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if registry.limits(self.command):
            return self._too_many()
        known, storage = self._is_known(), self.server.storage
        call = Call(registry, self.command, self.path, query, headers, body, storage, known, self._may)
        hidden = "unauthorized-for-missing" in registry.quirks and call.repository not in registry.repositories
        if storage:
            if "Authorization" in self.headers:
                return error(400, "UNSUPPORTED", "only one way to authenticate is allowed")
        elif not self._may(call.repository, call.action) or (hidden and not self._may(call.repository, "push")):
            return self._challenge(call)
        elif registry.auth == "bearer":
            registry.tokens[self._token_sent()].uses.append(self.path)
        # What is written to the client waits for the client, which may wait for another answer: not under the lock.
        with registry.lock:
            return answer(call)

    def _may(self, repository: str, action: str) -> bool:
        registry = self.server.registry
        scheme, _, value = (self.headers.get("Authorization") or "").partition(" ")
        if registry.auth == "none":
            return True
        if registry.auth == "basic":
            return scheme == "Basic" and self._is_user(value)
        token = registry.tokens.get(value)
        if scheme != "Bearer" or token is None or time.monotonic() >= token.until:
            return False
        used_up = registry.token_uses is not None and len(token.uses) >= registry.token_uses
        return not used_up and (not repository or (repository, action) in token.scopes)

    def _token_sent(self) -> str:
        return (self.headers.get("Authorization") or "").partition(" ")[2]

    def _is_known(self) -> bool:
        token = self.server.registry.tokens.get(self._token_sent())
        return token.known if token else "Authorization" in self.headers

    def _too_many(self) -> Answer:
        dated = "rate-limit-date" in self.server.registry.quirks
        wait = formatdate(time.time() + 5, usegmt=True) if dated else "0"
        refused = error(429, "TOOMANYREQUESTS", "rate exceeded")
        return refused._replace(headers={**refused.headers, "Retry-After": wait})

    def _is_user(self, value: str, *, token: bool = False) -> bool:
        registry = self.server.registry
        username, _, password = base64.b64decode(value).decode().partition(":")
        if token and password == registry.identity_token:
            return True
        return (username, password) == (registry.username, registry.password)

    def _challenge(self, call: Call) -> Answer:
        registry = self.server.registry
        challenge = 'Basic realm="fake registry"'
        if registry.auth == "bearer":
            host = registry.storage_host if "token-elsewhere" in registry.quirks else registry.host
            challenge = f'Bearer realm="{registry.scheme}://{host}/token",service="fake"'
            if call.repository:
                actions = "pull" if call.action == "pull" else "pull,push"
                challenge += f',scope="repository:{call.repository}:{actions}"'
            if "two-challenges" in registry.quirks:
                challenge = f'Basic realm="fake registry", {challenge}'
        refused = error(401, "UNAUTHORIZED", "authentication required")
        return refused._replace(headers={**refused.headers, "WWW-Authenticate": challenge})

    def _token(self, body: bytes) -> Answer:
        """Answer as a token service: GET with Basic credentials or none, or OAuth 2 with a refresh token."""
        registry = self.server.registry
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        if self.command == "POST":
            if "no-oauth" in registry.quirks:
                return error(404, "UNSUPPORTED", "page not found")
            form = dict(parse_qsl(body.decode()))
            scopes = form.get("scope", "").split()
            known = form.get("refresh_token") == registry.identity_token
        else:
            known = self._is_user((self.headers.get("Authorization") or "").partition(" ")[2], token=True)
        if not known and (self.command == "POST" or "Authorization" in self.headers):
            return error(401, "UNAUTHORIZED", "incorrect username or password")
        granted: set[tuple[str, str]] = set()
        for scope in scopes[:1] if "first-scope-only" in registry.quirks else scopes:
            name, _, actions = scope.removeprefix("repository:").rpartition(":")
            granted |= {
                (name, action) for action in actions.split(",") if known or (registry.public and action == "pull")
            }
        token, seconds = uuid.uuid4().hex, registry.token_seconds
        registry.tokens[token] = Token(frozenset(granted), time.monotonic() + seconds, known, [])
        said: dict[str, object] = {"token": token, "expires_in": seconds}
        if "access-token" in registry.quirks:
            said = {"access_token": token}
        return Answer(200, json.dumps(said).encode())

    def _go_wrong(self, fault: Fault) -> None:
        self._read(int(self.headers.get("Content-Length") or 0))
        if fault.status:
            return self._write(Answer(fault.status, fault.body, fault.headers))
        self._record(0)
        return self._hang_up()

    def _read(self, length: int) -> bytes:
        data = self.rfile.read(length) if length else b""
        self._sent += len(data)
        return data

    def _write(self, reply: Answer, *, after: int | None = None) -> None:
        self._record(reply.status)
        self.send_response(reply.status)
        if self.command != "HEAD" or "no-length-header" not in self.server.registry.quirks:
            self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[:after])
        if after is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        _cut(self.connection)

    def _record(self, status: int) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.registry.record(self.command, self.path, status, self._sent, headers, self.server.host)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
