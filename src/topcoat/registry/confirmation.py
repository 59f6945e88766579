"""What a response proves about content: a status alone proves nothing, because proxies and login pages send 200 too.

Source: OCI distribution specification, *Pushing blobs* and *Pushing manifests*.
"""

from __future__ import annotations

from urllib.parse import unquote

from topcoat.http.pool import Response
from topcoat.http.response_head import parse_count
from topcoat.oci.descriptor import Descriptor


def is_stored(response: Response, digest: str) -> bool:
    """Tell whether *response* to a push says that *digest* is stored: by its status, and by naming the digest."""
    if response.status not in (200, 201):
        return False
    stated = response.header("Docker-Content-Digest")
    return stated == digest if stated else unquote(response.header("Location").partition("?")[0]).endswith(digest)


def is_blob(response: Response, blob: Descriptor) -> bool | None:
    """Tell whether a 200 for *blob* is about it: it names the digest, or else the size; None if it states neither."""
    stated = response.header("Docker-Content-Digest")
    if stated:
        return stated == blob.digest
    size = parse_count(response.header("Content-Length"))
    return None if size is None else size == blob.size
