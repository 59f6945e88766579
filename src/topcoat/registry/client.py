"""The requests of the OCI distribution specification, for one registry.

What this module imports is part of every push, so it stays with the small half of the standard library: the HTTP
and TLS modules come with the first connection, ``subprocess`` with the first credential helper.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from topcoat.errors import AuthenticationFailed, ImageNotFound, InvalidImage, RegistryError
from topcoat.http.pool import Body, Response
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import is_digest, matches, sha256_digest
from topcoat.oci.manifest import ACCEPT
from topcoat.registry.authenticated_client import AuthenticatedClient
from topcoat.registry.credentials import Keyring
from topcoat.registry.download import BlobReader
from topcoat.registry.transport import Transport
from topcoat.registry.upload_session import Session, cancel_session, open_session, put_chunks, put_whole, uploads_path

if TYPE_CHECKING:
    from topcoat.http.pool import Source

_MOST_MANIFEST_BYTES = 32 * 2**20
_ACCEPT = {"Accept": ACCEPT}


class RegistryClient:
    """Reads from and writes to one registry, on kept-alive connections. Threads may share it.

    Every method raises, besides what it names: RegistryUnavailable where the registry cannot be reached,
    AuthenticationFailed where it wants other credentials, CredentialError where those cannot be read, and
    RegistryError for any other refusal.
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
            keyring: where credentials come from; this machine's by default.
            insecure: accept any certificate and plain HTTP; None asks Docker's and containerd's configuration.
            ca_file: a PEM file with a certificate authority on top of the system's.
        """
        self.registry = registry
        self._transport = Transport(registry, insecure=insecure, ca_file=ca_file)
        self._caller = AuthenticatedClient(registry, self._transport, keyring or Keyring())
        self._refused_size: int | None = None

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def expect_push(self, repository: str) -> None:
        """Say that *repository* will be pushed to, so that the first token already allows it."""
        self._caller.scopes(repository, push=True)

    def head_manifest(self, repository: str, identifier: str) -> Descriptor | None:
        """Return what *identifier* (a tag or a digest) refers to, None where there is nothing.

        A 403 counts as nothing, too: some registries (Artifactory's virtual repositories, GHCR before the first
        push) give it for what does not exist. Where access is denied in truth, the next request says so.
        """
        path = _manifest_path(repository, identifier)
        response = self._caller.call("HEAD", path, self._caller.scopes(repository), _ACCEPT)
        response.close()
        if response.status in (403, 404):
            return None
        digest, size = response.header("Docker-Content-Digest"), response.header("Content-Length")
        media_type = _media_type(response)
        if response.status == 200 and is_digest(digest) and size.isdigit() and media_type:
            return Descriptor(media_type, digest, int(size))
        if response.status not in (200, 405):
            raise self._caller.refusal(response, "HEAD", repository)
        # The headers are optional in HEAD: some registries leave one out.
        try:
            return self.get_manifest(repository, identifier)[0]
        except ImageNotFound:
            return None

    def get_manifest(self, repository: str, identifier: str) -> tuple[Descriptor, bytes]:
        """Return the manifest or index that *identifier* (a tag or a digest) refers to, checked against its digest.

        Raises:
            ImageNotFound: there is none.
        """
        path, scopes = _manifest_path(repository, identifier), self._caller.scopes(repository)
        response, data = self._caller.fetch(path, scopes, _ACCEPT, limit=_MOST_MANIFEST_BYTES + 1)
        name = f"{self.registry}/{repository}{'@' if is_digest(identifier) else ':'}{identifier}"
        if response.status == 404:
            response.close()
            raise ImageNotFound(f"there is no image {name}", hint="check the spelling of the repository and the tag")
        if response.status != 200:
            raise self._caller.refusal(response, "GET", repository)
        if len(data) > _MOST_MANIFEST_BYTES:
            raise InvalidImage(f"the manifest of {name} is larger than {_MOST_MANIFEST_BYTES} bytes")
        stated = response.header("Docker-Content-Digest")
        digest = identifier if is_digest(identifier) else stated if is_digest(stated) else sha256_digest(data)
        if not matches(digest, data):
            raise RegistryError(
                f"the manifest of {name} arrived with other content than its digest {digest} says",
                hint="try again; if it stays so, the registry or a proxy in between is damaged",
                temporary=True,
            )
        return Descriptor(_media_type(response) or "application/json", digest, len(data)), data

    def get_blob(self, repository: str, descriptor: Descriptor) -> bytes:
        """Return a small blob (an image config), checked against its size and digest.

        Raises:
            ImageNotFound: the registry does not have it.
        """
        embedded = _embedded(descriptor)
        if embedded is not None:
            return embedded
        with self.open_blob(repository, descriptor) as reader:
            return reader.read()

    def open_blob(self, repository: str, descriptor: Descriptor) -> BlobReader:
        """Return a reader of a blob (a context manager); its last bytes come only if size and digest are right.

        Raises:
            ImageNotFound: the registry does not have it.
        """

        def fetch(offset: int) -> Response:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            path = _blob_path(repository, descriptor.digest)
            response = self._caller.call("GET", path, self._caller.scopes(repository), headers)
            if response.status == 404:
                response.close()
                raise ImageNotFound(
                    f"{self.registry}/{repository} has no blob {descriptor.digest}, though its manifest names it",
                    hint="push the image again: the registry has lost a part of it",
                )
            if response.status not in (200, 206):
                raise self._caller.refusal(response, "GET", repository)
            return response

        return BlobReader(fetch, descriptor)

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether *repository* has a blob; a 403 counts as no (see ``head_manifest``)."""
        response = self._caller.call("HEAD", _blob_path(repository, digest), self._caller.scopes(repository))
        response.close()
        if response.status in (200, 403, 404):
            return response.status == 200
        raise self._caller.refusal(response, "HEAD", repository)

    def mount(self, repository: str, digest: str, source: str) -> str | None:
        """Make a blob of the repository *source* of this registry one of *repository*, without sending it.

        Returns:
            None when that is done; else the location of an upload session, for ``finish_upload`` or
            ``cancel_upload``: the registry does not have the blob there, may not show it, or cannot mount.
        """
        path = f"{uploads_path(repository)}?{urlencode({'mount': digest, 'from': source})}"
        scopes = (*self._caller.scopes(repository, push=True), (source, "pull"))
        try:
            response = self._caller.call("POST", path, scopes, retry=False)
            if response.status == 429:
                # Says nothing of mounting, and is no reason to send the whole blob instead.
                response.close()
                response = self._caller.call("POST", path, scopes)
        except AuthenticationFailed:
            # The token service may refuse everything because of the source.
            return self.start_upload(repository)
        response.close()
        if response.status == 201:
            return None
        if response.status == 202:
            return self._transport.location(response)
        return self.start_upload(repository)

    def start_upload(self, repository: str) -> str:
        """Open an upload session and return its location, for ``finish_upload`` or ``cancel_upload``."""
        return open_session(self._caller, repository).location

    def finish_upload(
        self, repository: str, location: str, body: bytes | Source, descriptor: Descriptor, *, chunked: bool = False
    ) -> None:
        """Send a blob into an upload session: in one piece, or in chunks where the registry refuses that (413).

        Nothing is retried here but a stale connection, for a session that failed is of no further use:
        ``upload_blob`` starts over.

        Args:
            repository: that the session was opened in.
            location: of the session; used up by this.
            body: bytes, or a file from where it stands.
            descriptor: digest and size of the body.
            chunked: send chunks in the first place.

        Raises:
            InvalidImage: the body is not of the size that the descriptor says.
        """
        content = Body(body)
        if content.size != descriptor.size:
            raise InvalidImage(f"{descriptor.digest} is to have {descriptor.size} bytes and has {content.size}")
        session: Session | None = Session(location)
        refused = self._refused_size
        if not chunked and (refused is None or content.size < refused):
            response = put_whole(self._caller, repository, location, descriptor.digest, content)
            if response.status != 413:
                self._caller.accept(response, "PUT", repository)
                return
            response.close()
            # The other blobs of this size need not run into the same wall.
            self._refused_size = min(content.size, refused or content.size)
            cancel_session(self._caller, repository, location)
            session = None
        put_chunks(self._caller, repository, session, descriptor.digest, content)

    def cancel_upload(self, repository: str, location: str) -> None:
        """Give up an upload session. A failure is ignored: the registry drops forgotten sessions by itself."""
        cancel_session(self._caller, repository, location)

    def put_manifest(self, repository: str, identifier: str, data: bytes, media_type: str) -> str:
        """Store a manifest or index under a tag or its digest, and return its digest.

        Raises:
            RegistryError: with the registry code ``MANIFEST_BLOB_UNKNOWN`` where a blob is missing.
        """
        digest = sha256_digest(data)
        path, scopes = _manifest_path(repository, identifier), self._caller.scopes(repository, push=True)
        response = self._caller.call("PUT", path, scopes, {"Content-Type": media_type}, Body(data))
        self._caller.accept(response, "PUT", repository)
        stated = response.header("Docker-Content-Digest")
        if stated.startswith("sha256:") and stated != digest:
            raise RegistryError(f"{self.registry} stored {repository}:{identifier} as {stated} instead of {digest}")
        return digest


def _manifest_path(repository: str, identifier: str) -> str:
    return f"/v2/{quote(repository)}/manifests/{quote(identifier, safe=':')}"


def _blob_path(repository: str, digest: str) -> str:
    return f"/v2/{quote(repository)}/blobs/{digest}"


def _media_type(response: Response) -> str:
    return response.header("Content-Type").partition(";")[0].strip()


def _embedded(descriptor: Descriptor) -> bytes | None:
    """Return the content that the descriptor itself carries, if it does and is right."""
    text = descriptor.extra.get("data")
    try:
        data = binascii.a2b_base64(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return data if data is not None and matches(descriptor.digest, data) else None
