"""A registry in memory, with the habits and the bad days of real ones.

::

    with FakeRegistry(quirks={"no-mount"}) as registry:
        registry.add_image("base", "1")
        registry.fail(503, times=2, method="PUT")
        ...  # talk to registry.host
    assert [request.method for request in registry.requests] == ["HEAD", ...]
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Manifest,
)
from topcoat.oci.platform import Platform
from topcoat.testing.registry_quirks import QUIRKS

if TYPE_CHECKING:
    from topcoat.testing.registry_routes import Upload
    from topcoat.testing.registry_server import Server

__all__ = ["EMPTY_LAYER", "QUIRKS", "FakeRegistry", "RecordedRequest", "Repository"]

EMPTY_LAYER = bytes(1024)
"""A tar without anything in it."""


class RecordedRequest(NamedTuple):
    """A request that was answered.

    Attributes:
        method: of the request.
        path: with its query.
        status: of the answer; 0 where the connection was cut instead.
        sent: bytes of the request's body that arrived.
        headers: of the request, names in lower case.
        host: that was asked: the registry's, or that of its storage.
    """

    method: str
    path: str
    status: int
    sent: int
    headers: Mapping[str, str]
    host: str


class Fault(NamedTuple):
    """Something to go wrong: an answer of *status*, or a cut connection for 0."""

    status: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    after: int | None


class Token(NamedTuple):
    """A bearer token: what it allows, until when, whether a user logged in for it, and how often it was used."""

    scopes: frozenset[tuple[str, str]]
    until: float
    known: bool
    uses: list[str]


class Repository:
    """What one repository holds: manifests by digest (with their media types), tags, and which blobs it may show."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.tags: dict[str, str] = {}
        self.blobs: set[str] = set()


class FakeRegistry:
    """An OCI distribution registry on a free loopback port, for as long as it is entered as a context manager.

    Attributes:
        host: ``127.0.0.1:PORT``.
        storage_host: the other host of the quirks that have one; it serves the same things and refuses credentials.
        requests: what was asked and answered, in that order.
        repositories: what is stored, by name.
        blobs: content by digest.
        uploads: sessions that are open, by id.
    """

    def __init__(
        self,
        *,
        quirks: Iterable[str] = (),
        auth: str = "none",
        username: str = "tester",
        password: str = "s3cret",
        identity_token: str = "identity-of-tester",
        public: bool = False,
        token_seconds: int = 300,
        token_uses: int | None = None,
        immutable_status: int = 409,
        put_limit: int | None = None,
        minimum_chunk: int = 0,
        tls: tuple[str, str] | None = None,
    ) -> None:
        """Describe a registry.

        Args:
            quirks: of ``QUIRKS``.
            auth: ``none``, ``basic`` or ``bearer`` (with a token service at ``/token``).
            username: that may do everything.
            password: of that user.
            identity_token: the refresh token of that user.
            public: whether the token service lets anyone pull.
            token_seconds: how long a bearer token lasts.
            token_uses: for how many requests a bearer token is good.
            immutable_status: what moving a tag gives, with the quirk ``immutable-tags``.
            put_limit: a larger body gives 413.
            minimum_chunk: announced as ``OCI-Chunk-Min-Length``; a smaller chunk that is not the last gives 416.
            tls: files with a certificate and its key.

        Raises:
            ValueError: no such quirk or way to authenticate.
        """
        self.quirks = frozenset(quirks)
        if unknown := self.quirks - QUIRKS.keys():
            raise ValueError(f"no such quirk: {', '.join(sorted(unknown))}; there are {', '.join(QUIRKS)}")
        if auth not in ("none", "basic", "bearer"):
            raise ValueError(f"auth must be none, basic or bearer, not {auth!r}")
        self.auth = auth
        self.username = username
        self.password = password
        self.identity_token = identity_token
        self.public = public
        self.token_seconds = token_seconds
        self.token_uses = token_uses
        self.immutable_status = immutable_status
        self.put_limit = put_limit
        self.minimum_chunk = minimum_chunk
        self.requests: list[RecordedRequest] = []
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, Upload] = {}
        self.tokens: dict[str, Token] = {}
        self._limited: set[str] = set()
        self.lock = threading.RLock()
        self.host = ""
        self.storage_host = ""
        self.scheme = "https" if tls else "http"
        self._tls = tls
        self._faults: list[Fault] = []
        self._servers: list[Server] = []

    def __enter__(self) -> FakeRegistry:
        from topcoat.testing.registry_server import Server

        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
        self._servers = [Server(self, storage=storage, tls=context) for storage in (False, True)]
        self.host, self.storage_host = [server.host for server in self._servers]
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.stop()

    def add_repository(self, name: str) -> Repository:
        """Make a repository, if it is not there, and return it."""
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def add_blob(self, repository: str, data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
        """Store a blob and return its descriptor."""
        descriptor = Descriptor(media_type, sha256_digest(data), len(data))
        with self.lock:
            self.blobs[descriptor.digest] = data
            self.add_repository(repository).blobs.add(descriptor.digest)
        return descriptor

    def add_image(
        self,
        repository: str,
        tag: str = "",
        *,
        layers: Sequence[bytes] = (EMPTY_LAYER,),
        config: Mapping[str, object] | None = None,
        platform: str = "linux/amd64",
        oci: bool = False,
    ) -> Descriptor:
        """Store an image and return the descriptor of its manifest, with its platform.

        Args:
            repository: that gets it.
            tag: that gets it; none without.
            layers: blobs, taken as they are: a tar each, compressed or not, where somebody will look into them.
            config: keys of the image config besides those that are filled in.
            platform: that the config states.
            oci: OCI's media types instead of Docker's.
        """
        os, architecture, variant = Platform.parse(platform)
        stated = {"os": os, "architecture": architecture, **({"variant": variant} if variant else {})}
        diff_ids = [sha256_digest(layer) for layer in layers]
        document = {**stated, "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}, **(config or {})}
        layer_type, config_type = (OCI_LAYER_GZIP, OCI_CONFIG) if oci else (DOCKER_LAYER_GZIP, DOCKER_CONFIG)
        data = Manifest.build(
            media_type=OCI_MANIFEST if oci else DOCKER_MANIFEST,
            config=self.add_blob(repository, canonical_json(document), config_type),
            layers=[self.add_blob(repository, layer, layer_type) for layer in layers],
        )
        stored = self.store_manifest(repository, tag, data, OCI_MANIFEST if oci else DOCKER_MANIFEST)
        return stored._replace(extra={"platform": stated})

    def add_index(self, repository: str, tag: str, entries: Iterable[Descriptor], *, oci: bool = True) -> Descriptor:
        """Store an index of the manifests described by *entries* and return its descriptor."""
        media_type = OCI_INDEX if oci else DOCKER_INDEX
        manifests = [entry.to_json() for entry in entries]
        data = canonical_json({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests})
        return self.store_manifest(repository, tag, data, media_type)

    def store_manifest(self, repository: str, tag: str, data: bytes, media_type: str) -> Descriptor:
        """Store a manifest without a check, under *tag* unless that is empty, and return its descriptor."""
        digest = sha256_digest(data)
        with self.lock:
            home = self.add_repository(repository)
            home.manifests[digest] = (media_type, data)
            if tag:
                home.tags[tag] = digest
        return Descriptor(media_type, digest, len(data))

    def manifest(self, repository: str, identifier: str) -> dict[str, object]:
        """Return a stored manifest, parsed.

        Raises:
            KeyError: there is none.
        """
        home = self.repositories[repository]
        document: dict[str, object] = json.loads(home.manifests[home.tags.get(identifier, identifier)][1])
        return document

    def lose_blob(self, digest: str) -> None:
        """Forget a blob, though manifests name it."""
        with self.lock:
            self.blobs.pop(digest, None)
            for home in self.repositories.values():
                home.blobs.discard(digest)

    def fail(
        self,
        status: int,
        *,
        times: int = 1,
        method: str = "",
        path: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        """Answer the next *times* requests of *method* whose path contains *path* with *status*."""
        with self.lock:
            self._faults += [Fault(status, method, path, headers or {}, body, None)] * times

    def cut(self, *, times: int = 1, method: str = "", path: str = "", after: int | None = None) -> None:
        """Cut the connection of the next *times* requests: without an answer, or *after* so many bytes of its body."""
        with self.lock:
            self._faults += [Fault(0, method, path, {}, b"", after)] * times

    def limits(self, method: str) -> bool:
        """Tell whether a request of *method* is one too many for the quirks that limit the rate."""
        with self.lock:
            first = method not in self._limited
            self._limited.add(method)
        return first and not self.quirks.isdisjoint({"rate-limit", "rate-limit-date"})

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Return the first fault that is meant for a request, and forget it."""
        with self.lock:
            for place, fault in enumerate(self._faults):
                if fault.method in ("", method) and fault.path in path:
                    return self._faults.pop(place)
        return None

    def record(self, method: str, path: str, status: int, sent: int, headers: Mapping[str, str], host: str) -> None:
        """Note a request that is being answered."""
        with self.lock:
            self.requests.append(RecordedRequest(method, path, status, sent, headers, host))
