"""What is in a base image that a container engine holds, asked through its archive interface.

The engine answers for containers only, so one is made of the image with the first question, never started, and removed
at the end. (Engine API: *Get an archive of a filesystem resource in a container*; Podman's service has it too.)

Podman's archives say of everything that it belongs to the container's user, and nothing of links that lead nowhere or
of what is in a volume of the image. The container's export knows better, and is read there too, up to the limit.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from topcoat.engines.engine import engine_errors
from topcoat.errors import DaemonError, InvalidImage
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.rootfs.untar import Member, members
from topcoat.scan.names import decode

if TYPE_CHECKING:
    from docker import DockerClient
    from requests import Response

    from topcoat.bases.engine_base import OpenEngine
    from topcoat.rootfs.nodes import BaseTree

_BLOCK = 1 << 16
_DOING = "looking into the base image"
# A header that Podman's answers have.
_PODMAN = "Libpod-API-Version"
# So much of the archive of a directory is looked at for what is below it.
_HEAD = 4 << 20
_STAT = "X-Docker-Container-Path-Stat"
# Go's os.ModeSymlink, which the engine's answer has.
_LINK = 1 << 27
# Seconds in which an engine makes a container.
_LATER = 1.0
# A container has to have a command, even one that is never started and whose image has none; and Docker makes the
# working directory that an image is missing with the container.
_SETTINGS = {"Cmd": ["true"], "WorkingDir": "/"}


class EngineTree:
    """A `BaseTree` of an image in an engine."""

    def __init__(self, engine: OpenEngine, image: str, platform: str = "", limit: int | None = None) -> None:
        """Prepare to look into *image* (its id) of *engine*.

        Args:
            engine: connects to the container engine, for as long as it is entered.
            image: its id there.
            platform: of the image, where it is not the engine's own.
            limit: bytes of an export to read, where that is what it takes; None for as many as there are, 0 to look
                at nothing at all.
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
        """Return the tree; no container is made yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the container."""
        with self._stack:
            self._client, self._container, self._export = None, "", None

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, ``UNKNOWN`` where that is a directory whose owner lies beyond the limit.

        Raises:
            DaemonError: the engine refuses or does not answer.
            InvalidImage: a link goes round in a circle.
        """
        if self._limit == 0:
            return UNKNOWN
        with self._archive(path) as found:
            node, podman = found.node(), found.podman
        if not podman or (node and node.kind != "dir"):
            return node
        return self._exported().find(path) or (UNKNOWN if node else None)

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what is below *directory*, as far as the head of its archive tells; owners are Podman's guess."""
        if self._limit == 0:
            return {}
        # The dot leaves the directory's own name, and whatever a link is called, out of the names.
        with self._archive(directory + b"/.") as found:
            return found.nodes()

    def _exported(self) -> _Export:
        if self._export is None:
            answer = self._get("export")
            self._stack.callback(answer.close)
            self._export = _Export(answer, self._limit)
        return self._export

    @contextmanager
    def _archive(self, path: bytes) -> Iterator[_Archive]:
        answer = self._get("archive", {"path": b"/" + path})
        try:
            yield _Archive(path, answer)
        finally:
            answer.close()

    def _get(self, resource: str, params: Mapping[str, bytes] | None = None) -> Response:
        api = self._made().api
        url = f"{api.base_url}/v{api.api_version}/containers/{self._container}/{resource}"
        with engine_errors(_DOING):
            return api.get(url, params=params, stream=True, timeout=api.timeout)

    def _made(self) -> DockerClient:
        """Return the client of the engine, which has the container by now."""
        if self._client is not None:
            return self._client
        client = self._stack.enter_context(self._engine())
        # The name is ours, so that the container can be removed even where its making is interrupted.
        name = f"topcoat-look-{os.urandom(6).hex()}"
        self._stack.callback(_remove, client, name)
        try:
            with engine_errors("making a container of the base image"):
                client.api.create_container_from_config(  # type: ignore[no-untyped-call]
                    {"Image": self._image, **_SETTINGS}, name=name, platform=self._platform or None
                )
        except KeyboardInterrupt:
            # An engine that was asked for it makes it all the same, a little later.
            time.sleep(_LATER)
            raise
        self._client, self._container = client, name
        return client


def _remove(client: DockerClient, container: str) -> None:
    # The answers are there; and a failure that led here says more than one to tidy up.
    with suppress(DaemonError), engine_errors("removing a container"):
        client.api.remove_container(container, v=True, force=True)


class _Archive:
    """What the engine answers for a path."""

    def __init__(self, path: bytes, answer: Response) -> None:
        self._path = path
        self._answer = answer
        self._there = answer.status_code == 200
        self.podman = _PODMAN in answer.headers
        if not self._there:
            with engine_errors(_DOING):
                said = _message(answer.content[:4096])
            if "too many" in said and "links" in said:
                raise InvalidImage(f"/{decode(path)} of the base image is a link in a circle")
            if answer.status_code != 404 or "o such container" in said:
                raise DaemonError(f"{_DOING}: {said}")

    def node(self) -> ImageNode | None:
        """Return what is at the path itself."""
        if not self._there:
            return None
        with engine_errors(_DOING):
            member = next(members(_Head(self._answer, _HEAD).read), None)
        if member is None:
            raise DaemonError(f"{_DOING}: the archive of /{decode(self._path)} is empty")
        stat = _stat(self._answer.headers.get(_STAT, ""))
        if stat.get("mode", 0) & _LINK and member.kind != "link":
            # Podman follows the link, and says where that leads.
            return ImageNode("link", 0o777, 0, 0, str(stat.get("linkTarget", "")).encode("utf-8", "surrogateescape"))
        return _node(member)

    def nodes(self) -> dict[bytes, ImageNode]:
        """Return what is below the path, as far as the head of the archive tells."""
        found: dict[bytes, ImageNode] = {}
        if not self._there:
            return found
        head = _Head(self._answer, _HEAD)
        with engine_errors(_DOING):
            for member in head.members():
                if member.path:
                    found[member.path] = _node(member)
        return found


class _Export:
    """A container's export, read as far as it takes; what is in a directory comes in the order of the names."""

    def __init__(self, answer: Response, limit: int | None) -> None:
        self._members = _Head(answer, limit).members() if answer.status_code == 200 else iter(())
        self._found: dict[bytes, ImageNode] = {}
        self._last: list[bytes] = []

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, None where there is nothing, or nothing up to the limit."""
        parts = path.split(b"/")
        with engine_errors(_DOING):
            while path not in self._found and self._last <= parts:
                member = next(self._members, None)
                if member is None:
                    break
                self._last = member.path.split(b"/")
                if member.kind in ("dir", "link"):
                    self._found[member.path] = _node(member)
        return self._found.get(path)


class _Head:
    """The first part of an answer, *limit* bytes or all of it."""

    def __init__(self, answer: Response, limit: int | None) -> None:
        self._parts = answer.iter_content(_BLOCK)
        self._left = limit

    def read(self, size: int) -> bytes:
        if self._left is not None and self._left <= 0:
            return b""
        data = next(self._parts, b"")
        if self._left is not None:
            self._left -= len(data)
        return data

    def members(self) -> Iterator[Member]:
        """Yield the members of the archive that lie in this part."""
        try:
            yield from members(self.read)
        except InvalidImage:
            if self._left is None or self._left > 0:
                raise


def _node(member: Member) -> ImageNode:
    return ImageNode(member.kind, member.mode, member.uid, member.gid, member.link if member.kind == "link" else b"")


def _stat(header: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.b64decode(header))
    except (ValueError, binascii.Error):
        return {}
    return found if isinstance(found, dict) else {}


def _message(content: bytes) -> str:
    with suppress(ValueError):
        told = json.loads(content)
        if isinstance(told, dict) and told.get("message"):
            return str(told["message"])
    return content.decode("utf-8", "replace").strip() or "no answer"
