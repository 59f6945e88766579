"""Real registries: Debian's docker-registry and distribution 3, plain, and with TLS and login."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import itertools
import json
import secrets
import shlex
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.components.host import ComponentError, environment, run_tool, tool
from tests.components.recorder import Recorder, Recording
from tests.components.serve import answers, free_port, serve

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Response:
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Registry:
    """A running registry. ``host`` is what stands before the repository in a reference."""

    host: str
    recorder: Recorder | None = None
    ca_file: Path | None = None
    username: str | None = None
    password: str | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://{self.host}"

    def unique(self, name: str = "app") -> str:
        """Return the name of a repository that no other test uses."""
        return f"{name}-{secrets.token_hex(3)}{next(_numbers)}"

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recording]:
        """Write down the requests that arrive inside the block."""
        if self.recorder is None:
            raise ComponentError("a registry with TLS cannot be recorded; use the plain one")
        with self.recorder.recording() as recording:
            yield recording

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send one request, with the login where there is one, and return the answer whatever its status."""
        sent = dict(headers or {})
        if self.username is not None:
            login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            sent.setdefault("Authorization", f"Basic {login}")
        with contextlib.closing(self._connection()) as connection:
            connection.request(method, path.removeprefix(self.url), body, sent)
            answer = connection.getresponse()
            response_headers = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, response_headers, answer.read())

    def _connection(self) -> http.client.HTTPConnection:
        if self.ca_file is None:
            return http.client.HTTPConnection(self.host, timeout=60)
        context = ssl.create_default_context(cafile=str(self.ca_file))
        return http.client.HTTPSConnection(self.host, timeout=60, context=context)


@contextlib.contextmanager
def plain_registry(program: Path, name: str, recorder: Recorder, scratch: Path, logs: Path) -> Iterator[Registry]:
    """Run a registry without TLS or login behind ``recorder``."""
    socket = scratch / f"{name}.sock"
    command = _configured(program, name, scratch, {"net": "unix", "addr": str(socket)})
    with serve(command, log=logs / f"{name}.log", env=_ENV, ready=lambda: answers(socket)):
        recorder.start(socket)
        try:
            yield Registry(recorder.host, recorder)
        finally:
            recorder.close()


@contextlib.contextmanager
def secure_registry(program: Path, scratch: Path, logs: Path) -> Iterator[Registry]:
    """Run a registry with TLS, a certificate of its own CA for 127.0.0.1 and localhost, and basic auth."""
    directory = scratch / "tls-registry"
    directory.mkdir()
    certificates(directory)
    user, password = "tester", secrets.token_urlsafe(9)
    htpasswd = tool("htpasswd", "htpasswd (apache2-utils)")
    (directory / "htpasswd").write_text(run_tool([htpasswd, "-nbB", user, password]))
    port = free_port()
    http_section = {
        "addr": f"127.0.0.1:{port}",
        "tls": {"certificate": str(directory / "server.crt"), "key": str(directory / "server.key")},
    }
    auth = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    command = _configured(program, "tls-registry", directory, http_section, auth=auth)
    with serve(command, log=logs / "tls-registry.log", env=_ENV, ready=lambda: answers(("127.0.0.1", port))):
        yield Registry(f"127.0.0.1:{port}", None, directory / "ca.crt", user, password)


# Distribution 3 would send traces to a collector.
_ENV = environment(OTEL_TRACES_EXPORTER="none")


def _configured(
    program: Path, name: str, scratch: Path, http_section: dict[str, Any], **sections: Any
) -> list[str | Path]:
    config = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(scratch / f"{name}-data")},
            "delete": {"enabled": True},
            "cache": {"blobdescriptor": "inmemory"},
        },
        "http": {"secret": "topcoat", **http_section},
        **sections,
    }
    file = scratch / f"{name}.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    return [program, "serve", file]


def certificates(directory: Path) -> None:
    """Write ca.crt, ca.key, server.crt and server.key, the latter for 127.0.0.1 and localhost."""
    program = tool("openssl", "openssl")

    def openssl(command: str) -> None:
        run_tool([program, *shlex.split(command)], cwd=directory)

    # Python 3.13 verifies strictly (RFC 5280): without these extensions it refuses the chain.
    (directory / "server.ext").write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\n"
        "basicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature,keyEncipherment\n"
        "extendedKeyUsage=serverAuth\n"
        "subjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid\n"
    )
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=topcoat test CA' -keyout ca.key -out ca.crt"
        " -addext keyUsage=critical,keyCertSign,cRLSign"
    )
    openssl("req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr")
    openssl(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.crt"
    )
