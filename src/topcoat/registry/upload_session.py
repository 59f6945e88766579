"""Upload sessions: opening one, and filling it in one piece or in chunks."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlencode

from topcoat.errors import RegistryError
from topcoat.http.pool import Body, Response
from topcoat.registry.authenticated_client import AuthenticatedClient

_OCTETS = {"Content-Type": "application/octet-stream"}
# Above the least that object stores take (5 MiB), below what proxies let through; halved as long as it is refused.
_CHUNK = 8 * 2**20
_LEAST_CHUNK = 256 * 1024


class Session(NamedTuple):
    """An open upload session: where it is, and the smallest chunk that it takes (``OCI-Chunk-Min-Length``)."""

    location: str
    least: int = 0


def uploads_path(repository: str) -> str:
    """Return the path that sessions are opened at."""
    return f"/v2/{quote(repository)}/blobs/uploads/"


def open_session(caller: AuthenticatedClient, repository: str) -> Session:
    """Open an upload session."""
    response = caller.call("POST", uploads_path(repository), caller.scopes(repository, push=True))
    caller.accept(response, "POST", repository)
    least = response.header("OCI-Chunk-Min-Length")
    return Session(caller.transport.location(response), int(least) if least.isdigit() else 0)


def cancel_session(caller: AuthenticatedClient, repository: str, location: str) -> None:
    """Give up a session, if the registry can be asked; it forgets sessions by itself in the end."""
    try:
        caller.call("DELETE", location, caller.scopes(repository, push=True), retry=False).close()
    except RegistryError:
        return


def put_whole(caller: AuthenticatedClient, repository: str, location: str, digest: str, body: Body) -> Response:
    """Send *body* into a session and close it under *digest*; return the answer."""
    # The location may carry the session's state in its query: the digest is added, the rest left as it is.
    url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}"
    return caller.call("PUT", url, caller.scopes(repository, push=True), _OCTETS, body, retry=False)


def put_chunks(caller: AuthenticatedClient, repository: str, session: Session | None, digest: str, body: Body) -> None:
    """Send *body* in chunks, smaller ones in a new session where the registry finds one too large.

    Raises:
        RegistryError: a chunk is refused.
    """
    chunk = _CHUNK
    while True:
        session = session or open_session(caller, repository)
        chunk = max(chunk, session.least)
        location, refused = _fill(caller, repository, session.location, body, chunk)
        if refused is None:
            done = put_whole(caller, repository, location, digest, Body(b""))
            caller.accept(done, "PUT", repository)
            return
        if chunk <= max(session.least, _LEAST_CHUNK):
            raise caller.refusal(refused, "PATCH", repository)
        refused.close()
        cancel_session(caller, repository, location)
        session, chunk = None, chunk // 2


def _fill(
    caller: AuthenticatedClient, repository: str, location: str, body: Body, chunk: int
) -> tuple[str, Response | None]:
    """Send the chunks; return the last location, and the answer that found a chunk too large, if any did."""
    at = 0
    while at < body.size:
        part = body.part(at, chunk)
        headers = {**_OCTETS, "Content-Range": f"{at}-{at + len(part) - 1}"}
        scopes = caller.scopes(repository, push=True)
        response = caller.call("PATCH", location, scopes, headers, Body(part), retry=False)
        if response.status == 413:
            return location, response
        caller.accept(response, "PATCH", repository)
        location = caller.transport.location(response)
        at += len(part)
    return location, None
