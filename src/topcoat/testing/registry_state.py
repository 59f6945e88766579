"""The contents and settings of the registry in memory, without its HTTP side."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
    Index,
    Manifest,
)
from topcoat.oci.platform import Platform
from topcoat.testing.faults import Faults
from topcoat.testing.registry_quirks import QUIRKS

EMPTY_LAYER = bytes(1024)
"""A tar without entries."""


class RecordedRequest(NamedTuple):
    """A request and the status of its response.

    Attributes:
        path: with the query.
        status: of the response; 0 if the connection was cut instead.
        sent: number of bytes received of the request's body.
        headers: of the request, names in lower case.
        host: that received it: the registry's ``host`` or ``storage_host``.
    """

    method: str
    path: str
    status: int
    sent: int
    headers: Mapping[str, str]
    host: str


class Fault(NamedTuple):
    """An injected fault: a response of *status*, or a cut connection if *status* is 0."""

    status: int
    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    after: int | None = None


class Token(NamedTuple):
    """A bearer token; *expires_at* is a ``time.monotonic`` time, *uses* lists the paths it was used for."""

    scopes: frozenset[tuple[str, str]]
    expires_at: float
    is_user: bool
    uses: list[str]


@dataclass
class Repository:
    """Manifests by digest (with their media types), tags, and the digests of the blobs that it can serve."""

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)


@dataclass
class Upload:
    """An open upload session: its repository, its content so far, and the size of the last chunk."""

    repository: str
    content: bytearray = field(default_factory=bytearray)
    last_chunk: int = 0


@dataclass(kw_only=True, eq=False)
class RegistryState:
    """Hold what a registry stores and how it behaves; ``FakeRegistry`` documents the arguments."""

    quirks: Collection[str] = ()
    auth: str = "none"
    username: str = "tester"
    password: str = "s3cret"
    identity_token: str = "identity-of-tester"
    public: bool = False
    token_seconds: int = 300
    token_uses: int | None = None
    immutable_status: int = 409
    put_limit: int | None = None
    minimum_chunk: int = 0
    tls: tuple[str, str] | None = None

    host: str = field(default="", init=False)
    storage_host: str = field(default="", init=False)
    requests: list[RecordedRequest] = field(default_factory=list, init=False)
    repositories: dict[str, Repository] = field(default_factory=dict, init=False)
    blobs: dict[str, bytes] = field(default_factory=dict, init=False)
    uploads: dict[str, Upload] = field(default_factory=dict, init=False)
    tokens: dict[str, Token] = field(default_factory=dict, init=False)
    faults: Faults = field(default_factory=Faults, init=False)
    lock: threading.RLock = field(default_factory=threading.RLock, init=False)
    _limited_methods: set[str] = field(default_factory=set, init=False)
    _faults: list[Fault] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if unknown := set(self.quirks) - QUIRKS.keys():
            raise ValueError(f"invalid quirk {', '.join(sorted(unknown))}: choose from {', '.join(QUIRKS)}")
        if self.auth not in ("none", "basic", "bearer"):
            raise ValueError(f"invalid auth {self.auth!r}: choose none, basic or bearer")

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.tls else "http"

    def add_repository(self, name: str) -> Repository:
        """Create the repository *name* if it does not exist, and return it."""
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
            repository: name of the repository.
            tag: an empty one stores the image without a tag.
            layers: blobs, stored unchanged: a tar each, compressed or not, if the code under test reads them.
            config: additional keys of the image config.
            platform: of the image config.
            oci: use OCI's media types instead of Docker's.
        """
        os, architecture, variant = Platform.parse(platform)
        platform_json = {"os": os, "architecture": architecture, **({"variant": variant} if variant else {})}
        diff_ids = [sha256_digest(layer) for layer in layers]
        document = {**platform_json, "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}, **(config or {})}
        layer_type, config_type = (OCI_LAYER_GZIP, OCI_CONFIG) if oci else (DOCKER_LAYER_GZIP, DOCKER_CONFIG)
        media_type = OCI_MANIFEST if oci else DOCKER_MANIFEST
        data = Manifest.build(
            media_type=media_type,
            config=self.add_blob(repository, canonical_json(document), config_type),
            layers=[self.add_blob(repository, layer, layer_type) for layer in layers],
        )
        return self.store_manifest(repository, tag, data, media_type)._replace(extra={"platform": platform_json})

    def add_index(self, repository: str, tag: str, entries: Iterable[Descriptor], *, oci: bool = True) -> Descriptor:
        """Store an index of the manifests described by *entries* and return its descriptor."""
        media_type = OCI_INDEX if oci else DOCKER_INDEX
        data = Index.build(media_type=media_type, manifests=entries)
        return self.store_manifest(repository, tag, data, media_type)

    def store_manifest(self, repository: str, tag: str, data: bytes, media_type: str) -> Descriptor:
        """Store a manifest without validation, under *tag* unless that is empty, and return its descriptor."""
        digest = sha256_digest(data)
        with self.lock:
            stored = self.add_repository(repository)
            stored.manifests[digest] = (media_type, data)
            if tag:
                stored.tags[tag] = digest
        return Descriptor(media_type, digest, len(data))

    def manifest(self, repository: str, identifier: str) -> dict[str, object]:
        """Return a stored manifest by tag or digest, parsed; raise ``KeyError`` if it does not exist."""
        stored = self.repositories[repository]
        document: dict[str, object] = json.loads(stored.manifests[stored.tags.get(identifier, identifier)][1])
        return document

    def lose_blob(self, digest: str) -> None:
        """Delete a blob, although manifests refer to it."""
        with self.lock:
            self.blobs.pop(digest, None)
            for repository in self.repositories.values():
                repository.blobs.discard(digest)

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
        """Respond with *status* to the next *times* requests of *method* whose path contains *path*."""
        with self.lock:
            self._faults += [Fault(status, method, path, headers or {}, body)] * times

    def cut(self, *, times: int = 1, method: str = "", path: str = "", after: int | None = None) -> None:
        """Cut the connection of the next *times* matching requests.

        The cut happens before the response, or *after* so many bytes of the response's body.
        """
        with self.lock:
            self._faults += [Fault(0, method, path, after=after)] * times

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Remove and return the first fault that matches a request."""
        with self.lock:
            for position, fault in enumerate(self._faults):
                if fault.method in ("", method) and fault.path in path:
                    return self._faults.pop(position)
        return None

    def take_rate_limit(self, method: str) -> bool:
        """Tell whether a quirk limits this request: the first one of each method."""
        with self.lock:
            is_first = method not in self._limited_methods
            self._limited_methods.add(method)
        return is_first and not {"rate-limit", "rate-limit-date"}.isdisjoint(self.quirks)

    def record(self, request: RecordedRequest) -> None:
        """Append *request* to ``requests``."""
        with self.lock:
            self.requests.append(request)
