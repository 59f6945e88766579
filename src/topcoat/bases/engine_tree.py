"""The file system of a base image in a container engine, read through the engine's archive interface.

The interface is for containers only, so the first call creates a container from the image. It is never started, and
removed at the end. (Engine API: *Get an archive of a filesystem resource in a container*; Podman's service has it too.)

In Podman's archives everything belongs to the container's user, and dangling links and the content of the image's
volumes are missing. The container's export is right, so with Podman it is read too, up to the limit.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from topcoat.engines.engine import engine_errors
from topcoat.errors import DaemonError, InvalidImage
from topcoat.foreign_text import parse_json
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.rootfs.untar import Member, members
from topcoat.scan.names import decode

if TYPE_CHECKING:
    from docker import DockerClient
    from requests import Response

    from topcoat.bases.engine_base import OpenEngine
    from topcoat.rootfs.nodes import BaseTree

_BLOCK = 1 << 16
_ACTION = "looking into the base image"
# A header that Podman's answers have.
_PODMAN_HEADER = "Libpod-API-Version"
# Bytes of a directory's archive that are read to list what is below the directory.
_MAX_ARCHIVE_BYTES = 4 << 20
_STAT_HEADER = "X-Docker-Container-Path-Stat"
# Go's os.ModeSymlink, which the engine's response has.
_GO_SYMLINK_BIT = 1 << 27
# An engine creates a container within this time.
_CREATE_DELAY_S = 1.0
# A container must have a command, even if it is never started. Docker creates a missing working directory together with
# the container: ``/`` always exists.
_CONTAINER_CONFIG = {"Cmd": ["true"], "WorkingDir": "/"}


class EngineTree:
    """A `BaseTree` of an image in an engine."""

    def __init__(self, engine: OpenEngine, image: str, platform: str = "", limit: int | None = None) -> None:
        """Prepare to read the image with the id *image*, of this *platform* unless it is the engine's own.

        At most *limit* bytes of an export are read: None for no limit, 0 to read nothing at all.
        """
        self._engine = engine
        self._image = image
        self._platform = platform
        self._limit = limit
        self._stack = ExitStack()
        self._client: DockerClient | None = None
        self._container = ""
        self._export: _Export | None = None

    def __enter__(self) -> BaseTree:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the container."""
        with self._stack:
            self._client, self._container, self._export = None, "", None

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, ``UNKNOWN`` if it is a directory whose owner is beyond the limit.

        Raises:
            DaemonError: the engine refuses or does not answer.
            InvalidImage: links form a circle.
        """
        if self._limit == 0:
            return UNKNOWN
        with self._archive(path) as archive:
            node, is_podman = archive.node(), archive.is_podman
        if not is_podman or (node and node.kind != "dir"):
            return node
        return self._get_export().find(path) or (UNKNOWN if node else None)

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what the first part of the archive of *directory* lists; Podman's owners are not reliable."""
        if self._limit == 0:
            return {}
        # With the dot, the names in the archive do not begin with the name of the directory or of a link to it.
        with self._archive(directory + b"/.") as archive:
            return archive.nodes()

    def _get_export(self) -> _Export:
        if self._export is None:
            response = self._get("export")
            self._stack.callback(response.close)
            self._export = _Export(response, self._limit)
        return self._export

    @contextmanager
    def _archive(self, path: bytes) -> Iterator[_ArchiveResponse]:
        with self._get("archive", {"path": b"/" + path}) as response:
            yield _ArchiveResponse(path, response)

    def _get(self, resource: str, params: Mapping[str, bytes] | None = None) -> Response:
        api = self._client_with_container().api
        url = f"{api.base_url}/v{api.api_version}/containers/{self._container}/{resource}"
        with engine_errors(_ACTION):
            return api.get(url, params=params, stream=True, timeout=api.timeout)

    def _client_with_container(self) -> DockerClient:
        """Return the client of the engine; create the container if it does not exist yet."""
        if self._client is not None:
            return self._client
        client = self._stack.enter_context(self._engine())
        # We choose the name, so the container can be removed even if its creation is interrupted.
        name = f"topcoat-look-{os.urandom(6).hex()}"
        self._stack.callback(_remove, client, name)
        try:
            with engine_errors("creating a container from the base image"):
                client.api.create_container_from_config(  # type: ignore[no-untyped-call]
                    {"Image": self._image, **_CONTAINER_CONFIG}, name=name, platform=self._platform or None
                )
        except KeyboardInterrupt:
            # The engine has the request, and creates the container a little later.
            time.sleep(_CREATE_DELAY_S)
            raise
        self._client, self._container = client, name
        return client


def _remove(client: DockerClient, container: str) -> None:
    # An earlier error matters more than a failed removal.
    with suppress(DaemonError), engine_errors("removing a container"):
        client.api.remove_container(container, v=True, force=True)


class _ArchiveResponse:
    """The engine's response for a path."""

    def __init__(self, path: bytes, response: Response) -> None:
        self._path = path
        self._response = response
        self._exists = response.status_code == 200
        self.is_podman = _PODMAN_HEADER in response.headers
        if not self._exists:
            with engine_errors(_ACTION):
                message = _message(response.content[:4096])
            if "too many" in message and "links" in message:
                raise InvalidImage(f"/{decode(path)} of the base image is part of a circle of links")
            if response.status_code != 404 or "o such container" in message:
                raise DaemonError(f"{_ACTION}: {message}")

    def node(self) -> ImageNode | None:
        """Return what is at the path itself."""
        if not self._exists:
            return None
        with engine_errors(_ACTION):
            member = next(members(_LimitedBody(self._response, _MAX_ARCHIVE_BYTES).read), None)
        if member is None:
            raise DaemonError(f"{_ACTION}: the archive of /{decode(self._path)} is empty")
        stat = _stat(self._response.headers.get(_STAT_HEADER, ""))
        if stat.get("mode", 0) & _GO_SYMLINK_BIT and member.kind != "link":
            # Podman follows the link, and reports its target.
            return ImageNode("link", 0o777, 0, 0, str(stat.get("linkTarget", "")).encode("utf-8", "surrogateescape"))
        return _node(member)

    def nodes(self) -> dict[bytes, ImageNode]:
        """Return what the first part of the archive lists."""
        if not self._exists:
            return {}
        head = _LimitedBody(self._response, _MAX_ARCHIVE_BYTES)
        with engine_errors(_ACTION):
            return {member.path: _node(member) for member in head.members() if member.path}


class _Export:
    """A container's export, read as far as needed; members are in the order of their names."""

    def __init__(self, response: Response, limit: int | None) -> None:
        self._members = _LimitedBody(response, limit).members() if response.status_code == 200 else iter(())
        self._nodes: dict[bytes, ImageNode] = {}
        self._last_parts: list[bytes] = []

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, None if nothing is there or it is beyond the limit."""
        parts = path.split(b"/")
        with engine_errors(_ACTION):
            while path not in self._nodes and self._last_parts <= parts:
                member = next(self._members, None)
                if member is None:
                    break
                self._last_parts = member.path.split(b"/")
                if member.kind in ("dir", "link"):
                    self._nodes[member.path] = _node(member)
        return self._nodes.get(path)


class _LimitedBody:
    """The first *limit* bytes of a response; all of it if *limit* is None."""

    def __init__(self, response: Response, limit: int | None) -> None:
        self._parts = response.iter_content(_BLOCK)
        self._remaining_bytes = limit

    def read(self, size: int) -> bytes:
        if self._remaining_bytes is not None and self._remaining_bytes <= 0:
            return b""
        data = next(self._parts, b"")
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(data)
        return data

    def members(self) -> Iterator[Member]:
        """Yield the members of the archive that are in this part."""
        try:
            yield from members(self.read)
        except InvalidImage:
            if self._remaining_bytes is None or self._remaining_bytes > 0:
                raise


def _node(member: Member) -> ImageNode:
    return ImageNode(member.kind, member.mode, member.uid, member.gid, member.link if member.kind == "link" else b"")


def _stat(header: str) -> dict[str, Any]:
    try:
        stat = parse_json(base64.b64decode(header))
    except (ValueError, binascii.Error):
        return {}
    return stat if isinstance(stat, dict) else {}


def _message(content: bytes) -> str:
    with suppress(ValueError):
        document = parse_json(content)
        if isinstance(document, dict) and document.get("message"):
            return str(document["message"])
    return content.decode("utf-8", "replace").strip() or "no response"
