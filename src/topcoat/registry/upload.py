"""Upload one blob, with as many sessions as it takes."""

from __future__ import annotations

import time

from topcoat.errors import RegistryError
from topcoat.http.request import Source
from topcoat.oci.descriptor import Descriptor
from topcoat.registry.client import RegistryClient
from topcoat.registry.transport import backoff
from topcoat.transfers import expect

_MAX_ATTEMPTS = 3
# The session was lost or damaged; a new one may work.
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
    """Upload a blob; a failed attempt starts over in a new session, the last attempt sends chunks.

    Args:
        client: of the target registry.
        repository: to upload to.
        body: the content: bytes, or a file from its current position. A ``BlobReader`` streams a blob through.
        descriptor: digest and size of the content.
        location: of an upload session that is already open.

    Raises:
        RegistryError: every attempt failed, or one failed permanently.
        InvalidImage: the body does not have the size of the descriptor.
    """
    expect("pushing", descriptor.size)
    start = 0 if isinstance(body, bytes) else body.tell()
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        is_last = attempt == _MAX_ATTEMPTS
        try:
            session = location or client.start_upload(repository)
            if not isinstance(body, bytes):
                body.seek(start)
            client.finish_upload(repository, session, body, descriptor, chunked=is_last)
            return
        except RegistryError as error:
            new_session_may_work = error.registry_code in _SESSION_CODES or error.status in _SESSION_STATUSES
            if is_last or not (error.temporary or new_session_may_work):
                raise
        location = None
        time.sleep(backoff(attempt))
