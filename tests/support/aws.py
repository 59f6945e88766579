"""An AWS API on loopback that sends what a test says, for the real boto3; records what it receives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest


class Failure(NamedTuple):
    """An error response of AWS; status 0 closes the connection without a response."""

    code: str
    message: str = "no"
    status: int = 400


class ScriptedAws:
    """Answers each operation, by its name in lower case, with the next response; the last one is repeated.

    A response is a dict, bytes, a `Failure`, or a function of the request's body that returns one of them.
    """

    def __init__(self) -> None:
        self.responses: dict[str, list[Any]] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    def says(self, operation: str, *responses: Any) -> None:
        """Set the responses of an operation."""
        self.responses[operation] = list(responses)

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """Return the bodies of the requests for an operation."""
        return [body for name, body in self.requests if name == operation]

    def respond(self, operation: str, body: dict[str, Any]) -> Any:
        """Return the response."""
        self.requests.append((operation, body))
        scripted = self.responses.get(operation) or [Failure("UnknownOperationException", operation)]
        response = scripted.pop(0) if len(scripted) > 1 else scripted[0]
        return response(body) if isinstance(response, Callable) else response  # type: ignore[arg-type]


@contextmanager
def scripted_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedAws]:
    """Run a `ScriptedAws`, which boto3 uses."""
    script = ScriptedAws()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            target = self.headers.get("X-Amz-Target", "").rpartition(".")[2] or self.path.rpartition("/")[2]
            response = script.respond(target.lower(), body)
            status = response.status if isinstance(response, Failure) else 200
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            if isinstance(response, Failure):
                self.send_header("x-amzn-ErrorType", response.code)
                response = {"__type": response.code, "message": response.message}
            data = response if isinstance(response, bytes) else json.dumps(response).encode()
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", script.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-access-key")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        try:
            yield script
        finally:
            server.shutdown()
