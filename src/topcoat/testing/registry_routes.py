"""The responses of a registry (OCI distribution specification), and how the quirks change them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from topcoat.oci.digest import is_digest, matches, sha256_digest
from topcoat.testing.registry_messages import Request, Response, error
from topcoat.testing.registry_state import Upload

_DENIED = error(403, "DENIED", "requested access to the resource is denied")
_UNSUPPORTED = error(405, "UNSUPPORTED", "the operation is unsupported")
_REFUSED_MOUNTS = {
    "mount-denied": _DENIED,
    "mount-not-found": error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    "mount-refused": _UNSUPPORTED,
}


def respond(request: Request) -> Response:
    """Return the response to an authorized request."""
    if urlsplit(request.path).path == "/v2/":
        return Response(200, b"{}")
    if not request.kind:
        return error(404, "NAME_INVALID", "no such path")
    if request.repository not in request.registry.repositories:
        if request.kind == "manifest" and request.action == "pull":
            return _manifest_unknown(request)
        if request.action == "pull":
            return _unknown(request, "NAME_UNKNOWN", "repository name not known to registry")
        if "closed-repositories" in request.quirks:
            # The text of Amazon's registry.
            name, owner = request.repository, "123456789012"
            text = f"The repository with name '{name}' does not exist in the registry with id '{owner}'"
            return error(404, "NAME_UNKNOWN", text)
    handler = _HANDLERS.get((request.method, request.kind))
    if handler is None:
        return _UNSUPPORTED
    refusal = _upload_error(request) if request.kind == "upload" else None
    return refusal or handler(request)


def _get_manifest(request: Request) -> Response:
    if request.method == "HEAD" and "no-head" in request.quirks:
        return _UNSUPPORTED
    digest = request.stored.tags.get(request.target, request.target)
    manifest = request.stored.manifests.get(digest)
    if manifest is None:
        return _manifest_unknown(request)
    if "redirect-manifests" in request.quirks and not request.storage:
        return request.redirect()
    if "anonymous-limit" in request.quirks and request.method == "GET" and not request.is_user:
        return error(429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.")
    media_type, data = manifest
    if "generic-types" in request.quirks:
        media_type = "application/json"
    return Response(200, data, {"Content-Type": media_type, **request.digest_header(digest)})


def _manifest_unknown(request: Request) -> Response:
    if request.method == "HEAD" and "forbidden-for-missing" in request.quirks:
        return _DENIED
    return _unknown(request, "MANIFEST_UNKNOWN", "manifest unknown")


def _unknown(request: Request, code: str, message: str) -> Response:
    if "denied-for-missing" in request.quirks:
        return _DENIED
    return error(404, code, message)


def _put_manifest(request: Request) -> Response:
    digest, previous = sha256_digest(request.body), request.stored.tags.get(request.target)
    if is_digest(request.target) and request.target != digest:
        return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    if previous not in (None, digest) and "immutable-tags" in request.quirks:
        text = f"the tag {request.target} is immutable and exists"
        return error(request.registry.immutable_status, "TAG_INVALID", text)
    media_type = request.headers.get("content-type") or ""
    is_oci, is_index = ".oci." in media_type, b'"manifests"' in request.body
    if ("no-oci" in request.quirks and is_oci) or ("no-index" in request.quirks and is_index):
        return error(400, "MANIFEST_INVALID", "manifest schema version not supported")
    missing = _missing(request)
    if missing and "accepts-broken" not in request.quirks:
        return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", missing)
    tag = "" if is_digest(request.target) else request.target
    request.registry.store_manifest(request.repository, tag, request.body, media_type)
    return request.created("manifests", digest)


def _missing(request: Request) -> str:
    """Return the first digest that the manifest in the body refers to and the repository does not have."""
    document = json.loads(request.body)
    for entry in document.get("manifests", []):
        if entry["digest"] not in request.stored.manifests:
            return str(entry["digest"])
    blobs = [document["config"], *document["layers"]] if "config" in document else []
    # Of layers that may not be distributed, a registry has the URLs alone.
    needed = [blob["digest"] for blob in blobs if not blob.get("urls")]
    return next((str(digest) for digest in needed if digest not in request.stored.blobs), "")


def _get_blob(request: Request) -> Response:
    if request.target not in request.stored.blobs:
        return _unknown(request, "BLOB_UNKNOWN", "blob unknown to registry")
    if "redirect-blobs" in request.quirks and not request.storage:
        return request.redirect()
    data = request.registry.blobs[request.target]
    headers = {"Content-Type": "application/octet-stream", **request.digest_header(request.target)}
    byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range") or "")
    if byte_range is None or "no-ranges" in request.quirks:
        return Response(200, data, headers)
    start, end = int(byte_range[1]), int(byte_range[2] or len(data) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Response(206, data[start : end + 1], headers)


def _get_tags(request: Request) -> Response:
    tags = sorted(request.stored.tags)[: int(request.query.get("n", 1000))]
    body = json.dumps({"name": request.repository, "tags": tags}).encode()
    return Response(200, body, {"Content-Type": "application/json"})


def _post_uploads(request: Request) -> Response:
    digest, source = request.query.get("mount"), request.query.get("from", "")
    if "read-only" in request.quirks:
        return _UNSUPPORTED
    for quirk, refusal in _REFUSED_MOUNTS.items():
        if digest and quirk in request.quirks:
            return refusal
    other = request.registry.repositories.get(source)
    may_mount = "no-mount" not in request.quirks and request.is_allowed(source, "pull")
    if digest and other and digest in other.blobs and may_mount:
        request.stored.blobs.add(digest)
        return request.created("blobs", digest)
    session, minimum = str(uuid.uuid4()), request.registry.minimum_chunk
    request.registry.uploads[session] = Upload(request.repository)
    headers = {"OCI-Chunk-Min-Length": str(minimum)} if minimum else {}
    return Response(202, b"", {**headers, **request.session_header(session)})


def _patch_upload(request: Request) -> Response:
    upload = request.registry.uploads[request.target]
    if "no-chunks" in request.quirks:
        return _UNSUPPORTED
    offset = len(upload.content)
    start, _, end = (request.headers.get("content-range") or f"{offset}-").partition("-")
    # Only the next chunk shows that the previous one was too small: the last chunk may have any size.
    is_short = offset and upload.last_chunk < request.registry.minimum_chunk
    if int(start) != offset or is_short or (end and int(end) + 1 != offset + len(request.body)):
        return error(416, "BLOB_UPLOAD_INVALID", "range not satisfiable")
    upload.content += request.body
    upload.last_chunk = len(request.body)
    return Response(202, b"", {**request.session_header(request.target), "Range": f"0-{len(upload.content) - 1}"})


def _put_upload(request: Request) -> Response:
    upload = request.registry.uploads[request.target]
    if "quota-exceeded" in request.quirks or ("no-whole-put" in request.quirks and request.body):
        del request.registry.uploads[request.target]
        if "quota-exceeded" in request.quirks:
            return error(403, "DENIED", "adding 1.0 MiB of storage resource will exceed the configured quota")
        return error(400, "BLOB_UPLOAD_INVALID", "blob upload invalid")
    data, digest = bytes(upload.content) + request.body, request.query.get("digest", "")
    if not (is_digest(digest) and matches(digest, data)):
        return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    del request.registry.uploads[request.target]
    request.registry.blobs[digest] = data
    request.stored.blobs.add(digest)
    return request.created("blobs", digest)


def _delete_upload(request: Request) -> Response:
    if "no-cancel" in request.quirks:
        return _UNSUPPORTED
    del request.registry.uploads[request.target]
    return Response(204)


def _upload_error(request: Request) -> Response | None:
    """Return an error response if the upload session does not exist."""
    upload = request.registry.uploads.get(request.target)
    if upload is None or upload.repository != request.repository:
        return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
    state = f"{request.target}/{len(upload.content)}"
    if "state-in-location" in request.quirks and request.query.get("_state") != state:
        return error(400, "BLOB_UPLOAD_INVALID", "the state is missing or stale")
    return None


_HANDLERS: Mapping[tuple[str, str], Callable[[Request], Response]] = {
    ("HEAD", "manifest"): _get_manifest,
    ("GET", "manifest"): _get_manifest,
    ("PUT", "manifest"): _put_manifest,
    ("GET", "tags"): _get_tags,
    ("HEAD", "blob"): _get_blob,
    ("GET", "blob"): _get_blob,
    ("POST", "uploads"): _post_uploads,
    ("PATCH", "upload"): _patch_upload,
    ("PUT", "upload"): _put_upload,
    ("DELETE", "upload"): _delete_upload,
}
