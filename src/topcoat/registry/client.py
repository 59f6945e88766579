"""A client of one registry: the requests of the OCI distribution specification.

Every push imports this module, so it imports only small modules: ``socket`` and ``ssl`` are imported with the first
connection, ``subprocess`` with the first credential helper.
"""

from __future__ import annotations

import binascii
import sys
from contextlib import suppress
from urllib.parse import quote, urlencode

from topcoat.errors import AuthenticationFailed, ImageNotFound, InvalidImage, RegistryError, RegistryUnavailable
from topcoat.foreign_text import parse_json
from topcoat.http.pool import Response
from topcoat.http.rate import document_seconds
from topcoat.http.request import Body, Source
from topcoat.http.response_head import parse_count
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import is_digest, matches, sha256_digest
from topcoat.oci.manifest import ACCEPT, INDEX_TYPES, MANIFEST_TYPES, parse
from topcoat.registry.authenticated_client import AuthenticatedClient
from topcoat.registry.confirmation import is_blob, is_stored
from topcoat.registry.credentials import Keyring
from topcoat.registry.download import BlobReader
from topcoat.registry.failures import IN_ITS_PLACE
from topcoat.registry.headers import parse_range_size
from topcoat.registry.transport import Transport
from topcoat.registry.upload_session import Session, cancel_session, open_session, put_chunks, put_whole, uploads_path

_MAX_MANIFEST_BYTES = 32 * 2**20
_MAX_TAGS_BYTES = 2**20
_ACCEPT = {"Accept": ACCEPT}
# What registries and proxies send that do not support HEAD there.
_NO_HEAD = frozenset({400, 405, 406, 410, 501})
# A response to HEAD of another type says nothing about a manifest: a login page has a type and a length too.
_HEAD_TYPES = MANIFEST_TYPES | INDEX_TYPES | {"application/json"}


class RegistryClient:
    """Reads from and writes to one registry, on kept-alive connections. Threads may share it.

    Every method can also raise RegistryUnavailable (no response), AuthenticationFailed (a login is missing or
    refused), CredentialError (credentials cannot be read) and RegistryError (any other refusal).
    """

    def __init__(
        self,
        registry: str,
        *,
        keyring: Keyring | None = None,
        insecure: bool | None = None,
        ca_file: str | None = None,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            registry: ``host[:port]`` as in an image reference; ``docker.io`` for Docker Hub.
            keyring: the credentials; this machine's by default.
            insecure: accept any certificate and plain HTTP; None reads Docker's and containerd's configuration.
            ca_file: a PEM file with an additional certificate authority.
        """
        self.registry = registry
        self._transport = Transport(registry, insecure=insecure, ca_file=ca_file)
        self._client = AuthenticatedClient(registry, self._transport, keyring or Keyring())
        # The size of the smallest body that was too large for one request.
        self._too_large = sys.maxsize

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def expect_push(self, repository: str) -> None:
        """Announce a push to *repository*, so that the first token already allows it."""
        self._client.expect_push(repository)

    def check_login(self) -> None:
        """Check where a registry that may be reached in plain HTTP sends its login.

        For programs that get the login and do not check this themselves. A registry that cannot be reached from here
        is not checked: they may reach it.

        Raises:
            RegistryError: to a token service on another host.
        """
        if self._transport.may_be_plain:
            with suppress(RegistryUnavailable):
                self._client.check_login()

    def head_manifest(self, repository: str, identifier: str) -> Descriptor | None:
        """Return what *identifier* (a tag or a digest) refers to, None if it does not exist.

        A 403 also means None: some registries (Artifactory's virtual repositories, GHCR before the first push)
        send it for what does not exist. If access is really denied, the next request fails.
        """
        response = self._client.call("HEAD", _manifest_path(repository, identifier), repository, _ACCEPT)
        response.close()
        # A storage host may refuse HEAD where the address was made for GET: that says nothing.
        if response.status == 404 or (response.status == 403 and not response.left_origin):
            return None
        digest, size = response.header("Docker-Content-Digest"), parse_count(response.header("Content-Length"))
        media_type = _media_type(response)
        names_it = is_digest(digest) and (digest == identifier or not is_digest(identifier))
        if response.status == 200 and names_it and size is not None and media_type in _HEAD_TYPES:
            return Descriptor(media_type, digest, size)
        if response.status not in (200, 403, *_NO_HEAD):
            raise self._client.refusal(response, "HEAD", repository)
        # Some registries omit one of these headers, or refuse HEAD.
        try:
            return self.get_manifest(repository, identifier)[0]
        except ImageNotFound:
            return None

    def get_manifest(self, repository: str, identifier: str) -> tuple[Descriptor, bytes]:
        """Return the manifest or index that *identifier* (a tag or a digest) refers to, verified by its digest.

        Raises:
            ImageNotFound: it does not exist.
            InvalidImage: the registry sent something else than a manifest.
        """
        path = _manifest_path(repository, identifier)
        response, data = self._client.fetch(path, repository, _ACCEPT, limit=_MAX_MANIFEST_BYTES + 1)
        name = f"{self.registry}/{repository}{'@' if is_digest(identifier) else ':'}{identifier}"
        if response.status in (404, 410):
            response.close()
            raise ImageNotFound(f"there is no image {name}", hint="check the spelling of the repository and the tag")
        if response.status != 200:
            raise self._client.refusal(response, "GET", repository)
        if len(data) > _MAX_MANIFEST_BYTES:
            raise InvalidImage(f"the manifest of {name} is larger than {_MAX_MANIFEST_BYTES} bytes")
        stated = response.header("Docker-Content-Digest")
        digest = identifier if is_digest(identifier) else stated if is_digest(stated) else sha256_digest(data)
        if not matches(digest, data):
            raise RegistryError(
                f"the manifest of {name} does not match its digest {digest}",
                hint="try again; if it happens again, the registry or a proxy in between is damaged",
                temporary=True,
            )
        # Any page has a digest; only a manifest is believed.
        try:
            parse(data, _media_type(response))
        except InvalidImage as error:
            raise InvalidImage(f"cannot read the manifest of {name}: {error.message}", hint=error.hint) from None
        return Descriptor(_media_type(response) or "application/json", digest, len(data)), data

    def get_blob(self, repository: str, descriptor: Descriptor) -> bytes:
        """Return a small blob (an image config), verified by size and digest.

        Raises:
            ImageNotFound: the registry does not have it.
        """
        embedded = _embedded(descriptor)
        if embedded is not None:
            return embedded
        with self.open_blob(repository, descriptor, seconds=document_seconds(descriptor.size)) as reader:
            return reader.read()

    def open_blob(self, repository: str, descriptor: Descriptor, *, seconds: float | None = None) -> BlobReader:
        """Return a reader of a blob (a context manager), which verifies size and digest; it may take *seconds*.

        Raises:
            ImageNotFound: the registry does not have it.
        """

        def fetch(offset: int) -> Response:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            path = _blob_path(repository, descriptor.digest)
            response = self._client.call("GET", path, repository, headers)
            if response.status == 404:
                response.close()
                raise ImageNotFound(
                    f"{self.registry}/{repository} has no blob {descriptor.digest}, although its manifest lists it",
                    hint="push the image again: the registry has lost a part of it",
                )
            if response.status not in (200, 206):
                raise self._client.refusal(response, "GET", repository)
            return response

        return BlobReader(fetch, descriptor, seconds=seconds)

    def has_tags(self, repository: str) -> bool:
        """Tell whether anything is tagged in *repository*; False if the registry does not list tags."""
        path = f"/v2/{quote(repository)}/tags/list?n=1"
        response, data = self._client.fetch(path, repository, {}, limit=_MAX_TAGS_BYTES)
        response.close()
        try:
            return response.status == 200 and bool(parse_json(data).get("tags"))
        except (ValueError, AttributeError):
            return False

    def has_blob(self, repository: str, blob: Descriptor) -> bool:
        """Tell whether *repository* has *blob*; a 403 means no (see ``head_manifest``).

        A response counts only if it names the blob's digest, or states its size.
        """
        path = _blob_path(repository, blob.digest)
        response = self._client.call("HEAD", path, repository)
        response.close()
        if response.status in (403, 404):
            return False
        if response.status not in (200, *_NO_HEAD):
            raise self._client.refusal(response, "HEAD", repository)
        if response.status == 200:
            stated = is_blob(response, blob)
            if stated is not None:
                return stated
        response = self._client.call("GET", path, repository, {"Range": "bytes=0-0"})
        if response.status not in (200, 206, 403, 404, 410, 416):
            raise self._client.refusal(response, "GET", repository)
        response.close()
        if response.status == 206:
            return parse_range_size(response.header("Content-Range")) == blob.size
        # An empty blob has no first byte.
        return bool(is_blob(response, blob)) if response.status == 200 else response.status == 416 and not blob.size

    def mount(self, repository: str, blob: Descriptor, source: str) -> str | None:
        """Mount *blob* of the repository *source* of this registry into *repository*, without an upload.

        Returns:
            None on success; else the location of an upload session, for ``finish_upload`` or ``cancel_upload``:
            *source* does not have the blob, may not be read, or the registry cannot mount.
        """
        path = f"{uploads_path(repository)}?{urlencode({'mount': blob.digest, 'from': source})}"
        try:
            response = self._client.call("POST", path, repository, push=True, source=source)
        except AuthenticationFailed:
            # The token service may refuse the whole request because of the source.
            return self.start_upload(repository)
        response.close()
        if response.status == 202:
            return self._transport.location(response)
        if is_stored(response, blob.digest) or (response.status == 201 and self.has_blob(repository, blob)):
            return None
        return self.start_upload(repository)

    def start_upload(self, repository: str) -> str:
        """Open an upload session and return its location, for ``finish_upload`` or ``cancel_upload``."""
        return open_session(self._client, repository).location

    def finish_upload(
        self, repository: str, location: str, body: bytes | Source, descriptor: Descriptor, *, chunked: bool = False
    ) -> None:
        """Send a blob into an upload session: in one piece, or in chunks if the registry refuses that (413).

        A failed session cannot be reused, so nothing is retried here: ``upload_blob`` starts over.

        Args:
            repository: of the session.
            location: of the session, which ends.
            body: bytes, or a file from its current position.
            descriptor: digest and size of the body.
            chunked: send chunks at once.

        Raises:
            InvalidImage: the body does not have the size of the descriptor.
        """
        content = Body(body)
        if content.size != descriptor.size:
            raise InvalidImage(f"the body of {descriptor.digest} has {content.size} bytes, expected {descriptor.size}")
        session: Session | None = Session(location)
        response = None
        if not chunked and content.size < self._too_large:
            response = put_whole(self._client, repository, location, descriptor.digest, content)
            if response.status == 413:
                response.close()
                self._too_large = content.size
                cancel_session(self._client, repository, location)
                session = response = None
        if response is None:
            response = put_chunks(self._client, repository, session, descriptor.digest, content)
        self._client.accept(response, "PUT", repository)
        if not is_stored(response, descriptor.digest) and not self.has_blob(repository, descriptor):
            raise RegistryError(
                f"{self.registry} answered the upload of {descriptor.digest} to {repository} with status "
                f"{response.status}, and does not have it",
                hint=IN_ITS_PLACE,
                temporary=True,
            )

    def cancel_upload(self, repository: str, location: str) -> None:
        """Cancel an upload session. Errors are ignored: registries expire sessions by themselves."""
        cancel_session(self._client, repository, location)

    def put_manifest(self, repository: str, identifier: str, data: bytes, media_type: str) -> str:
        """Store a manifest or index under a tag or its digest, and return its digest.

        Raises:
            RegistryError: with the registry code ``MANIFEST_BLOB_UNKNOWN`` if a blob is missing.
        """
        digest = sha256_digest(data)
        path, headers = _manifest_path(repository, identifier), {"Content-Type": media_type}
        response = self._client.call("PUT", path, repository, headers, Body(data), push=True)
        self._client.accept(response, "PUT", repository)
        if not is_stored(response, digest):
            current = self.head_manifest(repository, identifier)
            if current is None or current.digest != digest:
                raise RegistryError(
                    f"{self.registry} answered the push of {repository}:{identifier} with status {response.status} "
                    + (f"and has {current.digest} there, not {digest}" if current else "and does not have it"),
                    hint=IN_ITS_PLACE,
                )
        return digest


def _manifest_path(repository: str, identifier: str) -> str:
    return f"/v2/{quote(repository)}/manifests/{quote(identifier, safe=':')}"


def _blob_path(repository: str, digest: str) -> str:
    return f"/v2/{quote(repository)}/blobs/{digest}"


def _media_type(response: Response) -> str:
    return response.header("Content-Type").partition(";")[0].strip()


def _embedded(descriptor: Descriptor) -> bytes | None:
    """Return the content in the descriptor's own ``data``, None if it has none that matches its digest."""
    text = descriptor.extra.get("data")
    try:
        data = binascii.a2b_base64(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return data if data is not None and matches(descriptor.digest, data) else None
