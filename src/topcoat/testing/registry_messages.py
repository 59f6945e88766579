"""The requests and responses of the registry in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from topcoat.testing.registry_state import RegistryState, Repository

_NAME = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_OUTSIDE = "/artifacts-uploads"
_ROUTES = (
    ("tags", re.compile(rf"/v2/{_NAME}/tags/(?P<target>list)")),
    ("manifest", re.compile(rf"/v2/{_NAME}/manifests/(?P<target>[^/]+)")),
    ("uploads", re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<target>)")),
    ("upload", re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<target>[^/]+)")),
    ("upload", re.compile(rf"{_OUTSIDE}/{_NAME}/(?P<target>[^/]+)")),
    ("blob", re.compile(rf"/v2/{_NAME}/blobs/(?P<target>[^/]+)")),
)


class Response(NamedTuple):
    """A response; the server adds ``Content-Length``."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


def error(status: int, code: str, message: str, detail: object = None) -> Response:
    """Return an error response in the specification's format."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()
    return Response(status, body, {"Content-Type": "application/json"})


@dataclass
class Request:
    """A parsed request.

    Attributes:
        path: with the query.
        headers: names in lower case.
        storage: whether the storage host received it.
        is_user: whether the user is logged in.
        is_allowed: tells whether the client may do an action (``pull`` or ``push``) in a repository.
        kind: ``manifest``, ``blob``, ``uploads``, ``upload``, ``tags``, or empty for any other path.
        repository: the repository's name.
        target: tag, digest or upload session.
        action: ``pull`` or ``push``, the permission that the request needs.
    """

    registry: RegistryState
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    storage: bool
    is_user: bool
    is_allowed: Callable[[str, str], bool]

    def __post_init__(self) -> None:
        self.action = "pull" if self.method in ("GET", "HEAD") else "push"
        matches = ((kind, pattern.fullmatch(urlsplit(self.path).path)) for kind, pattern in _ROUTES)
        self.kind, match = next(((kind, match) for kind, match in matches if match), ("", None))
        self.repository, self.target = match.group("name", "target") if match else ("", "")

    @property
    def quirks(self) -> Collection[str]:
        """The quirks of the registry."""
        return self.registry.quirks

    @property
    def stored(self) -> Repository:
        """The contents of the repository."""
        return self.registry.add_repository(self.repository)

    def created(self, kind: str, digest: str) -> Response:
        """Return the response to a stored or mounted manifest or blob."""
        status = 200 if self.method == "PUT" and "other-success" in self.quirks else 201
        location = f"/v2/{self.repository}/{kind}/{digest}"
        return Response(status, b"", {"Location": location, **self.digest_header(digest)})

    def redirect(self) -> Response:
        """Return a redirect to the storage host."""
        return Response(307, b"", {"Location": f"{self.registry.scheme}://{self.registry.storage_host}{self.path}"})

    def digest_header(self, digest: str) -> dict[str, str]:
        """Return the header with *digest*."""
        return {} if "no-digest-header" in self.quirks else {"Docker-Content-Digest": digest}

    def session_header(self, session: str) -> dict[str, str]:
        """Return the header with the URL of the upload session *session*."""
        outside = "location-outside" in self.quirks
        uploads = f"{_OUTSIDE}/{self.repository}" if outside else f"/v2/{self.repository}/blobs/uploads"
        location = f"{uploads}/{session}"
        if "state-in-location" in self.quirks:
            location += f"?_state={session}/{len(self.registry.uploads[session].content)}"
        if "upload-elsewhere" in self.quirks:
            location = f"{self.registry.scheme}://{self.registry.storage_host}{location}"
        elif "absolute-location" in self.quirks:
            location = f"{self.registry.scheme}://{self.registry.host}{location}"
        elif "lost-port-location" in self.quirks:
            location = f"http://127.0.0.1{location}"
        return {"Location": location}
