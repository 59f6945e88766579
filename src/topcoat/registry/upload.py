"""Uploading one blob, start to end, however often that takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from topcoat.errors import RegistryError
from topcoat.oci.descriptor import Descriptor
from topcoat.registry.client import RegistryClient
from topcoat.registry.transport import backoff

if TYPE_CHECKING:
    from topcoat.http.pool import Source

_ATTEMPTS = 3
# A session may be lost or damaged on the way, and a new one be fine.
_SESSION_CODES = frozenset({"BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "SIZE_INVALID"})
_SESSION_STATUSES = frozenset({404, 416})


def upload_blob(
    client: RegistryClient,
    repository: str,
    body: bytes | Source,
    descriptor: Descriptor,
    *,
    location: str | None = None,
) -> None:
    """Upload a blob; a failed attempt starts over in a new session, the last one in chunks.

    Args:
        client: of the target registry.
        repository: that is to have the blob.
        body: the content: bytes, or a file from where it stands. A ``BlobReader`` streams a blob through.
        descriptor: digest and size of the content.
        location: an upload session that is open already.

    Raises:
        RegistryError: it failed for good.
        InvalidImage: the body is not of the size that the descriptor says.
    """
    start = 0 if isinstance(body, bytes) else body.tell()
    for attempt in range(1, _ATTEMPTS + 1):
        last = attempt == _ATTEMPTS
        try:
            session = location or client.start_upload(repository)
            if not isinstance(body, bytes):
                body.seek(start)
            client.finish_upload(repository, session, body, descriptor, chunked=last)
            return
        except RegistryError as error:
            if last or not _worth_another(error):
                raise
        location = None
        time.sleep(backoff(attempt))


def _worth_another(error: RegistryError) -> bool:
    return error.temporary or error.registry_code in _SESSION_CODES or error.status in _SESSION_STATUSES
