"""What a registry answers (OCI distribution specification), and how the quirks change that."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from topcoat.errors import InvalidImage
from topcoat.oci.digest import is_digest, matches, sha256_digest

if TYPE_CHECKING:
    from topcoat.testing.registry import FakeRegistry, Repository

_NAME = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_OUTSIDE = "/artifacts-uploads"
_ROUTES = (
    ("manifest", re.compile(rf"/v2/{_NAME}/manifests/(?P<rest>[^/]+)")),
    ("uploads", re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<rest>)")),
    ("upload", re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<rest>[^/]+)")),
    ("upload", re.compile(rf"{_OUTSIDE}/{_NAME}/(?P<rest>[^/]+)")),
    ("blob", re.compile(rf"/v2/{_NAME}/blobs/(?P<rest>[^/]+)")),
)


class Answer(NamedTuple):
    """An answer; ``Content-Length`` is added."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


def error(status: int, code: str, message: str, detail: object = None) -> Answer:
    """Return an error in the specification's format."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()
    return Answer(status, body, {"Content-Type": "application/json"})


class Upload:
    """An open upload session: where it belongs, what it holds, and the size of the chunk that came last."""

    def __init__(self, repository: str) -> None:
        self.repository = repository
        self.content = bytearray()
        self.last_chunk = 0


class Call:
    """A request, taken apart; the names of its headers are in lower case.

    Attributes:
        kind: ``manifest``, ``blob``, ``uploads``, ``upload``, or empty for any other path.
        repository: the repository's name.
        known: whether a user has logged in for it.
        rest: tag, digest or session.
        action: ``pull`` or ``push``, what it needs the right to.
    """

    def __init__(
        self,
        registry: FakeRegistry,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        storage: bool,
        known: bool,
        may: Callable[[str, str], bool],
    ) -> None:
        self.registry = registry
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.storage = storage
        self.known = known
        self.may = may
        self.action = "pull" if method in ("GET", "HEAD") else "push"
        found = ((kind, pattern.fullmatch(urlsplit(path).path)) for kind, pattern in _ROUTES)
        self.kind, match = next(((kind, match) for kind, match in found if match), ("", None))
        self.repository, self.rest = match.group("name", "rest") if match else ("", "")

    @property
    def quirks(self) -> frozenset[str]:
        """The quirks of the registry."""
        return self.registry.quirks

    @property
    def home(self) -> Repository:
        """The repository."""
        return self.registry.add_repository(self.repository)

    @property
    def created(self) -> int:
        """The status of what was stored."""
        return 200 if "other-success" in self.quirks else 201

    def elsewhere(self) -> Answer:
        """Return a redirect to the other host."""
        return Answer(307, b"", {"Location": f"{self.registry.scheme}://{self.registry.storage_host}{self.path}"})

    def digest_header(self, digest: str) -> dict[str, str]:
        """Return the header that states *digest*."""
        return {} if "no-digest-header" in self.quirks else {"Docker-Content-Digest": digest}

    def session_header(self, session: str) -> dict[str, str]:
        """Return the header that states where an upload session goes on."""
        outside = "location-outside" in self.quirks
        location = f"{_OUTSIDE}/{self.repository}" if outside else f"/v2/{self.repository}/blobs/uploads"
        location += f"/{session}"
        if "state-in-location" in self.quirks:
            location += f"?_state={session}/{len(self.registry.uploads[session].content)}"
        if "upload-elsewhere" in self.quirks:
            location = f"{self.registry.scheme}://{self.registry.storage_host}{location}"
        elif "absolute-location" in self.quirks:
            location = f"{self.registry.scheme}://{self.registry.host}{location}"
        elif "lost-port-location" in self.quirks:
            location = f"http://127.0.0.1{location}"
        return {"Location": location}


def answer(call: Call) -> Answer:
    """Return the answer to a request that is allowed."""
    if urlsplit(call.path).path == "/v2/":
        return Answer(200, b"{}")
    if not call.kind:
        return error(404, "NAME_INVALID", "no such path")
    if call.repository not in call.registry.repositories:
        if call.kind == "manifest" and call.action == "pull":
            return _manifest_unknown(call)
        if call.action == "pull":
            return _unknown(call, "NAME_UNKNOWN", "repository name not known to registry")
        if "closed-repositories" in call.quirks:
            # In the words of Amazon's.
            text = f"The repository with name '{call.repository}' does not exist in the registry with id '123456789012'"
            return error(404, "NAME_UNKNOWN", text)
    handler = _HANDLERS.get((call.method, call.kind))
    return handler(call) if handler else error(405, "UNSUPPORTED", "the operation is unsupported")


def _head_manifest(call: Call) -> Answer:
    if "no-head" in call.quirks:
        return error(405, "UNSUPPORTED", "the operation is unsupported")
    return _get_manifest(call)


def _get_manifest(call: Call) -> Answer:
    digest = call.home.tags.get(call.rest, call.rest)
    found = call.home.manifests.get(digest)
    if found is None:
        return _manifest_unknown(call)
    if "redirect-manifests" in call.quirks and not call.storage:
        return call.elsewhere()
    if "anonymous-limit" in call.quirks and call.method == "GET" and not call.known:
        return error(429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.")
    kind = "application/json" if "generic-types" in call.quirks else found[0]
    return Answer(200, found[1], {"Content-Type": kind, **call.digest_header(digest)})


def _manifest_unknown(call: Call) -> Answer:
    if call.method == "HEAD" and "forbidden-for-missing" in call.quirks:
        return error(403, "DENIED", "requested access to the resource is denied")
    return _unknown(call, "MANIFEST_UNKNOWN", "manifest unknown")


def _unknown(call: Call, code: str, message: str) -> Answer:
    if "denied-for-missing" in call.quirks:
        return error(403, "DENIED", "requested access to the resource is denied")
    return error(404, code, message)


def _put_manifest(call: Call) -> Answer:
    digest, there = sha256_digest(call.body), call.home.tags.get(call.rest)
    if is_digest(call.rest) and call.rest != digest:
        return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    if there not in (None, digest) and "immutable-tags" in call.quirks:
        return error(call.registry.immutable_status, "TAG_INVALID", f"the tag {call.rest} is immutable and exists")
    kind = call.headers.get("content-type") or ""
    if ("no-oci" in call.quirks and ".oci." in kind) or ("no-index" in call.quirks and b'"manifests"' in call.body):
        return error(400, "MANIFEST_INVALID", "manifest schema version not supported")
    missing = _missing(call)
    if missing and "accepts-broken" not in call.quirks:
        return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", missing)
    tag = "" if is_digest(call.rest) else call.rest
    call.registry.store_manifest(call.repository, tag, call.body, kind)
    location = f"/v2/{call.repository}/manifests/{digest}"
    return Answer(call.created, b"", {"Location": location, **call.digest_header(digest)})


def _missing(call: Call) -> str:
    """Return the first thing that the manifest in the body names and the repository does not have."""
    document = json.loads(call.body)
    for entry in document.get("manifests", []):
        if entry["digest"] not in call.home.manifests:
            return str(entry["digest"])
    wanted = [document["config"], *document["layers"]] if "config" in document else []
    return next((str(blob["digest"]) for blob in wanted if blob["digest"] not in call.home.blobs), "")


def _get_blob(call: Call) -> Answer:
    if call.rest not in call.home.blobs:
        return _unknown(call, "BLOB_UNKNOWN", "blob unknown to registry")
    if "redirect-blobs" in call.quirks and not call.storage:
        return call.elsewhere()
    data = call.registry.blobs[call.rest]
    headers = {"Content-Type": "application/octet-stream", **call.digest_header(call.rest)}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("range") or "")
    if asked is None or "no-ranges" in call.quirks:
        return Answer(200, data, headers)
    start, end = int(asked[1]), int(asked[2] or len(data) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Answer(206, data[start : end + 1], headers)


_REFUSED_MOUNTS = {
    "mount-denied": error(403, "DENIED", "requested access to the resource is denied"),
    "mount-not-found": error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    "mount-refused": error(405, "UNSUPPORTED", "the operation is unsupported"),
}


def _post_uploads(call: Call) -> Answer:
    digest, source = call.query.get("mount"), call.query.get("from", "")
    if "read-only" in call.quirks:
        return error(405, "UNSUPPORTED", "the operation is unsupported")
    for quirk, refused in _REFUSED_MOUNTS.items():
        if digest and quirk in call.quirks:
            return refused
    other = call.registry.repositories.get(source)
    if digest and other and digest in other.blobs and "no-mount" not in call.quirks and call.may(source, "pull"):
        call.home.blobs.add(digest)
        return Answer(201, b"", {"Location": f"/v2/{call.repository}/blobs/{digest}", **call.digest_header(digest)})
    session, least = str(uuid.uuid4()), call.registry.minimum_chunk
    call.registry.uploads[session] = Upload(call.repository)
    headers = {"OCI-Chunk-Min-Length": str(least)} if least else {}
    return Answer(202, b"", {**headers, **call.session_header(session)})


def _patch_upload(call: Call) -> Answer:
    upload = _upload(call)
    if isinstance(upload, Answer):
        return upload
    if "no-chunks" in call.quirks:
        return error(405, "UNSUPPORTED", "the operation is unsupported")
    at = len(upload.content)
    start, _, end = (call.headers.get("content-range") or f"{at}-").partition("-")
    # That a chunk was too small is known when the next one comes: the last may be of any size.
    short = at and upload.last_chunk < call.registry.minimum_chunk
    if int(start) != at or short or (end and int(end) + 1 != at + len(call.body)):
        return error(416, "BLOB_UPLOAD_INVALID", "range not satisfiable")
    upload.content += call.body
    upload.last_chunk = len(call.body)
    return Answer(202, b"", {**call.session_header(call.rest), "Range": f"0-{len(upload.content) - 1}"})


def _put_upload(call: Call) -> Answer:
    upload = _upload(call)
    if isinstance(upload, Answer):
        return upload
    if "quota-exceeded" in call.quirks or ("no-whole-put" in call.quirks and call.body):
        del call.registry.uploads[call.rest]
        if "quota-exceeded" in call.quirks:
            return error(403, "DENIED", "adding 1.0 MiB of storage resource will exceed the configured quota")
        return error(400, "BLOB_UPLOAD_INVALID", "blob upload invalid")
    data, digest = bytes(upload.content) + call.body, call.query.get("digest", "")
    try:
        right = matches(digest, data)
    except InvalidImage:
        right = False
    if not right:
        return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    del call.registry.uploads[call.rest]
    call.registry.blobs[digest] = data
    call.home.blobs.add(digest)
    location = f"/v2/{call.repository}/blobs/{digest}"
    return Answer(call.created, b"", {"Location": location, **call.digest_header(digest)})


def _delete_upload(call: Call) -> Answer:
    if "no-cancel" in call.quirks:
        return error(405, "UNSUPPORTED", "the operation is unsupported")
    upload = _upload(call)
    if isinstance(upload, Answer):
        return upload
    del call.registry.uploads[call.rest]
    return Answer(204)


def _upload(call: Call) -> Upload | Answer:
    """Return an upload session, or the answer that there is no such session."""
    upload = call.registry.uploads.get(call.rest)
    if upload is None or upload.repository != call.repository:
        return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
    if "state-in-location" in call.quirks and call.query.get("_state") != f"{call.rest}/{len(upload.content)}":
        return error(400, "BLOB_UPLOAD_INVALID", "the state is missing or stale")
    return upload


_HANDLERS: Mapping[tuple[str, str], Callable[[Call], Answer]] = {
    ("HEAD", "manifest"): _head_manifest,
    ("GET", "manifest"): _get_manifest,
    ("PUT", "manifest"): _put_manifest,
    ("HEAD", "blob"): _get_blob,
    ("GET", "blob"): _get_blob,
    ("POST", "uploads"): _post_uploads,
    ("PATCH", "upload"): _patch_upload,
    ("PUT", "upload"): _put_upload,
    ("DELETE", "upload"): _delete_upload,
}
