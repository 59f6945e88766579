"""Upload sessions: open one, and fill it in one piece or in chunks."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlencode

from topcoat.errors import RegistryError
from topcoat.http.pool import Response
from topcoat.http.request import Body
from topcoat.http.response_head import parse_count
from topcoat.registry.authenticated_client import AuthenticatedClient

_OCTETS = {"Content-Type": "application/octet-stream"}
# Above the minimum of object stores (5 MiB), below the limit of most proxies; halved as long as it is refused.
_CHUNK = 8 * 2**20
_MIN_CHUNK = 256 * 1024
# A chunk is held in memory.
_MAX_CHUNK = 512 * 2**20


class Session(NamedTuple):
    """An open upload session: its location, and the minimum size of its chunks (``OCI-Chunk-Min-Length``)."""

    location: str
    min_chunk: int = 0


def uploads_path(repository: str) -> str:
    """Return the path at which sessions are opened."""
    return f"/v2/{quote(repository)}/blobs/uploads/"


def open_session(client: AuthenticatedClient, repository: str) -> Session:
    """Open an upload session."""
    response = client.call("POST", uploads_path(repository), repository, push=True)
    client.accept(response, "POST", repository)
    min_chunk = parse_count(response.header("OCI-Chunk-Min-Length")) or 0
    return Session(client.transport.location(response), min(min_chunk, _MAX_CHUNK))


def cancel_session(client: AuthenticatedClient, repository: str, location: str) -> None:
    """Cancel a session. Errors are ignored: registries expire sessions by themselves."""
    try:
        client.call("DELETE", location, repository, push=True, retry=False).close()
    except RegistryError:
        return


def put_whole(client: AuthenticatedClient, repository: str, location: str, digest: str, body: Body) -> Response:
    """Send *body* into a session and close it under *digest*; return the response."""
    # The query of the location may hold the session's state, so the digest is appended to it as it is.
    url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}"
    return client.call("PUT", url, repository, _OCTETS, body, push=True, retry=False)


def put_chunks(
    client: AuthenticatedClient, repository: str, session: Session | None, digest: str, body: Body
) -> Response:
    """Send *body* in chunks and return the last response; if a chunk is too large, start over with smaller ones.

    Raises:
        RegistryError: a chunk is refused.
    """
    size = _CHUNK
    while True:
        session = session or open_session(client, repository)
        size = max(size, session.min_chunk)
        location, too_large = _fill(client, repository, session.location, body, size)
        if too_large is None:
            return put_whole(client, repository, location, digest, Body(b""))
        if size <= max(session.min_chunk, _MIN_CHUNK):
            raise client.refusal(too_large, "PATCH", repository)
        too_large.close()
        cancel_session(client, repository, location)
        session, size = None, size // 2


def _fill(
    client: AuthenticatedClient, repository: str, location: str, body: Body, size: int
) -> tuple[str, Response | None]:
    """Send the chunks; return the last location, and the 413 response if a chunk was too large."""
    offset = 0
    while offset < body.size:
        part = body.part(offset, size)
        headers = {**_OCTETS, "Content-Range": f"{offset}-{offset + len(part) - 1}"}
        response = client.call("PATCH", location, repository, headers, Body(part), push=True, retry=False)
        if response.status == 413:
            return location, response
        client.accept(response, "PATCH", repository)
        location = client.transport.location(response)
        offset += len(part)
    return location, None
