"""The HTTP side of the registry in memory."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from topcoat.errors import InvalidImage
from topcoat.oci.digest import is_digest, matches, sha256_digest

if TYPE_CHECKING:
    from topcoat.testing.registry import FakeRegistry, Fault

_NAME = r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
_ROUTES = (
    ("manifest", re.compile(rf"/v2/({_NAME})/manifests/([^/]+)")),
    ("uploads", re.compile(rf"/v2/({_NAME})/blobs/uploads/()")),
    ("upload", re.compile(rf"/v2/({_NAME})/blobs/uploads/([^/]+)")),
    ("blob", re.compile(rf"/v2/({_NAME})/blobs/([^/]+)")),
)


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
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
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
        self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        self._registry = self.server.registry
        self._quirks = self._registry.quirks
        self._sent = 0
        self._after: int | None = None
        parts = urlsplit(self.path)
        self._query = dict(parse_qsl(parts.query))
        fault = self._registry.take_fault(self.command, self.path)
        if fault is not None and self._go_wrong(fault):
            return
        limit, length = self._registry.put_limit, int(self.headers.get("Content-Length") or 0)
        if limit is not None and length > limit:
            # As proxies do: the answer first, then read what is still coming, so that the answer is not lost.
            self._error(413, "SIZE_INVALID", "request entity too large", close=True)
            self.wfile.flush()
            self._read(length)
            return
        self._body = self._read(length)
        if parts.path == "/token":
            self._token()
        elif parts.path == "/v2/":
            self._answer(200, b"{}") if self._authorized("", "") else None
        else:
            self._route(parts.path)

    def _route(self, path: str) -> None:
        for kind, pattern in _ROUTES:
            if match := pattern.fullmatch(path):
                name, rest = match.groups()
                break
        else:
            return self._error(404, "NAME_INVALID", "no such path")
        if self.server.storage and "Authorization" in self.headers:
            return self._error(400, "UNSUPPORTED", "only one way to authenticate is allowed")
        action = "pull" if self.command in ("GET", "HEAD") else "push"
        if not self.server.storage and not self._authorized(name, action):
            return None
        with self._registry.lock:
            known = name in self._registry.repositories
            if not known and (action == "pull" or "closed-repositories" in self._quirks):
                if kind == "manifest" and self.command == "HEAD":
                    return self._manifest_unknown()
                return self._error(404, "NAME_UNKNOWN", "repository name not known to registry")
            self._home = self._registry.add_repository(name)
            handler = getattr(self, f"_{self.command.lower()}_{kind}", None)
            if handler is None:
                return self._error(405, "UNSUPPORTED", "the operation is unsupported")
            handler(name, rest)
        return None

    def _head_manifest(self, name: str, identifier: str) -> None:
        if "no-head" in self._quirks:
            return self._error(405, "UNSUPPORTED", "the operation is unsupported")
        return self._get_manifest(name, identifier)

    def _get_manifest(self, name: str, identifier: str) -> None:
        digest = self._home.tags.get(identifier, identifier)
        found = self._home.manifests.get(digest)
        if found is None:
            return self._manifest_unknown()
        return self._answer(200, found[1], {"Content-Type": found[0], **self._digest(digest)})

    def _manifest_unknown(self) -> None:
        if self.command == "HEAD" and "forbidden-for-missing" in self._quirks:
            return self._error(403, "DENIED", "requested access to the resource is denied")
        return self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")

    def _put_manifest(self, name: str, identifier: str) -> None:
        digest, there = sha256_digest(self._body), self._home.tags.get(identifier)
        if is_digest(identifier) and identifier != digest:
            return self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        if there not in (None, digest) and "immutable-tags" in self._quirks:
            return self._error(409, "TAG_INVALID", f"the tag {identifier} is immutable and exists")
        missing = self._missing()
        if missing and "accepts-broken" not in self._quirks:
            return self._error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", {"digest": missing})
        tag = "" if is_digest(identifier) else identifier
        self._registry.store_manifest(name, tag, self._body, self.headers.get("Content-Type") or "")
        return self._answer(201, b"", {"Location": f"/v2/{name}/manifests/{digest}", **self._digest(digest)})

    def _missing(self) -> str:
        """Return the first thing that the manifest in the body names and the repository does not have."""
        document = json.loads(self._body)
        for entry in document.get("manifests", []):
            if entry["digest"] not in self._home.manifests:
                return str(entry["digest"])
        wanted = [document["config"], *document["layers"]] if "config" in document else []
        return next((str(blob["digest"]) for blob in wanted if blob["digest"] not in self._home.blobs), "")

    def _head_blob(self, name: str, digest: str) -> None:
        self._get_blob(name, digest)

    def _get_blob(self, name: str, digest: str) -> None:
        if digest not in self._home.blobs:
            return self._error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if "redirect-blobs" in self._quirks and not self.server.storage:
            location = f"{self._registry.scheme}://{self._registry.storage_host}{self.path}"
            return self._answer(307, b"", {"Location": location})
        data = self._registry.blobs[digest]
        headers = {"Content-Type": "application/octet-stream", **self._digest(digest)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None or "no-ranges" in self._quirks:
            return self._answer(200, data, headers)
        start, end = int(asked[1]), int(asked[2] or len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return self._answer(206, data[start : end + 1], headers)

    def _post_uploads(self, name: str, _: str) -> None:
        digest, source = self._query.get("mount"), self._query.get("from", "")
        if digest and "mount-refused" in self._quirks:
            return self._error(405, "UNSUPPORTED", "the operation is unsupported")
        home = self._registry.repositories.get(source)
        if digest and home and digest in home.blobs and "no-mount" not in self._quirks and self._may(source, "pull"):
            self._home.blobs.add(digest)
            return self._answer(201, b"", {"Location": f"/v2/{name}/blobs/{digest}", **self._digest(digest)})
        session = str(uuid.uuid4())
        self._registry.uploads[session] = (name, bytearray())
        least = self._registry.minimum_chunk
        headers = {"OCI-Chunk-Min-Length": str(least)} if least else {}
        return self._answer(202, b"", {**headers, **self._session(name, session)})

    def _patch_upload(self, name: str, session: str) -> None:
        content = self._content(name, session)
        if content is None:
            return None
        if "no-chunks" in self._quirks:
            return self._error(405, "UNSUPPORTED", "the operation is unsupported")
        start, dash, end = (self.headers.get("Content-Range") or f"{len(content)}-").partition("-")
        # What is too small is known when the next chunk comes: the last one may be of any size.
        short = len(content) % self._registry.minimum_chunk if self._registry.minimum_chunk else 0
        if int(start) != len(content) or short or (end and int(end) + 1 != len(content) + len(self._body)):
            return self._error(416, "BLOB_UPLOAD_INVALID", "range not satisfiable")
        content += self._body
        return self._answer(202, b"", {**self._session(name, session), "Range": f"0-{len(content) - 1}"})

    def _put_upload(self, name: str, session: str) -> None:
        content = self._content(name, session)
        if content is None:
            return None
        data, digest = bytes(content) + self._body, self._query.get("digest", "")
        try:
            right = matches(digest, data)
        except InvalidImage:
            right = False
        if not right:
            return self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        del self._registry.uploads[session]
        self._registry.blobs[digest] = data
        self._home.blobs.add(digest)
        return self._answer(201, b"", {"Location": f"/v2/{name}/blobs/{digest}", **self._digest(digest)})

    def _delete_upload(self, name: str, session: str) -> None:
        if self._content(name, session) is not None:
            del self._registry.uploads[session]
            self._answer(204, b"")

    def _content(self, name: str, session: str) -> bytearray | None:
        found = self._registry.uploads.get(session)
        if found is None or found[0] != name:
            self._error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
            return None
        if "state-in-location" in self._quirks and self._query.get("_state") != f"{session}/{len(found[1])}":
            self._error(400, "BLOB_UPLOAD_INVALID", "the state is missing or stale")
            return None
        return found[1]

    def _session(self, name: str, session: str) -> dict[str, str]:
        location = f"/v2/{name}/blobs/uploads/{session}"
        if "state-in-location" in self._quirks:
            location += f"?_state={session}/{len(self._registry.uploads[session][1])}"
        if "upload-elsewhere" in self._quirks:
            location = f"{self._registry.scheme}://{self._registry.storage_host}{location}"
        elif "lost-port-location" in self._quirks:
            location = f"http://127.0.0.1{location}"
        return {"Location": location}

    def _digest(self, digest: str) -> dict[str, str]:
        return {} if "no-digest-header" in self._quirks else {"Docker-Content-Digest": digest}

    def _authorized(self, name: str, action: str) -> bool:
        if self._may(name, action):
            return True
        challenge = 'Basic realm="fake registry"'
        if self._registry.auth == "bearer":
            challenge = f'Bearer realm="{self._registry.scheme}://{self._registry.host}/token",service="fake"'
            if name:
                challenge += f',scope="repository:{name}:{"pull" if action == "pull" else "pull,push"}"'
        self._error(401, "UNAUTHORIZED", "authentication required", headers={"WWW-Authenticate": challenge})
        return False

    def _may(self, name: str, action: str) -> bool:
        scheme, _, value = (self.headers.get("Authorization") or "").partition(" ")
        if self._registry.auth == "none":
            return True
        if self._registry.auth == "basic":
            return scheme == "Basic" and self._is_user(value)
        scopes, until = self._registry.tokens.get(value, (frozenset(), 0.0))
        return scheme == "Bearer" and time.monotonic() < until and (not name or (name, action) in scopes)

    def _is_user(self, value: str, *, token: bool = False) -> bool:
        username, _, password = base64.b64decode(value).decode().partition(":")
        if token and password == self._registry.identity_token:
            return True
        return (username, password) == (self._registry.username, self._registry.password)

    def _token(self) -> None:
        """Answer as a token service: GET with Basic credentials or none, or OAuth 2 with a refresh token."""
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        if self.command == "POST":
            if "no-oauth" in self._quirks:
                return self._error(404, "UNSUPPORTED", "page not found")
            form = dict(parse_qsl(self._body.decode()))
            scopes = form.get("scope", "").split()
            known = form.get("refresh_token") == self._registry.identity_token
        else:
            known = self._is_user((self.headers.get("Authorization") or "").partition(" ")[2], token=True)
        if not known and "Authorization" in self.headers:
            return self._error(401, "UNAUTHORIZED", "incorrect username or password")
        if "first-scope-only" in self._quirks:
            scopes = scopes[:1]
        granted = set()
        for scope in scopes if known else ():
            name, _, actions = scope.removeprefix("repository:").rpartition(":")
            granted |= {(name, action) for action in actions.split(",")}
        token = uuid.uuid4().hex
        seconds = self._registry.token_seconds
        self._registry.tokens[token] = (frozenset(granted), time.monotonic() + seconds)
        return self._answer(200, json.dumps({"token": token, "expires_in": seconds}).encode())

    def _go_wrong(self, fault: Fault) -> bool:
        """Carry out a fault; False where the request is to be answered first."""
        if fault.after is not None:
            self._after = fault.after
            return False
        if fault.status:
            self._read(int(self.headers.get("Content-Length") or 0))
            self._answer(fault.status, fault.body, fault.headers)
            return True
        self._record(0)
        self.close_connection = True
        _cut(self.connection)
        return True

    def _read(self, length: int) -> bytes:
        data = self.rfile.read(length) if length else b""
        self._sent += len(data)
        return data

    def _error(
        self,
        status: int,
        code: str,
        message: str,
        detail: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        data = json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()
        media_type = "application/json"
        if "html-errors" in self._quirks:
            data, media_type = f"<html><h1>{status}</h1></html>".encode(), "text/html"
        extra = {"Connection": "close"} if close else {}
        self._answer(status, data, {"Content-Type": media_type, **extra, **(headers or {})})

    def _answer(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._record(status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if self._after is None else data[: self._after])
        if self._after is not None:
            self.wfile.flush()
            self.close_connection = True
            _cut(self.connection)

    def _record(self, status: int) -> None:
        from topcoat.testing.registry import RecordedRequest

        headers = {name.lower(): value for name, value in self.headers.items()}
        made = RecordedRequest(self.command, self.path, status, self._sent, headers, self.server.host)
        with self._registry.lock:
            self._registry.requests.append(made)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
