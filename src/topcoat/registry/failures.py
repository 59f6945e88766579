"""Translate exceptions of ``http`` and error responses into errors with a hint; nothing else does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, urlsplit

from topcoat.errors import AuthenticationFailed, InvalidImage, RegistryError, RegistryUnavailable, TopcoatError
from topcoat.http.errors import BodyTooShort, InvalidSettings, NotHTTP, ProxyRefused
from topcoat.http.pool import Response
from topcoat.oci.digest import is_digest

NETWORK_ERRORS = (OSError, NotHTTP)
"""What a connection raises, as opposed to a bug or an error of ours."""

RETRIED_STATUSES = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
"""Statuses that mean "later" (499 and 522 come from proxies in front of a registry)."""

_SHOWN_QUERY = frozenset({"digest", "mount", "from", "service", "scope"})
_MAX_ERROR_BYTES = 64 * 1024
_MAX_SHOWN = 300
# How to log in, and how to create a repository, by the end of the registry's host name.
_LOGIN = {
    "docker.io": "docker login",
    ".amazonaws.com": "aws ecr get-login-password | docker login --username AWS --password-stdin {registry}",
    ".pkg.dev": "gcloud auth configure-docker {registry}",
    "gcr.io": "gcloud auth configure-docker {registry}",
    ".azurecr.io": "az acr login --name {name}",
    "ghcr.io": "docker login ghcr.io, with a token that has the scope write:packages",
}
_CREATE = {
    ".amazonaws.com": "aws ecr create-repository --repository-name {repository}",
    ".pkg.dev": "gcloud artifacts repositories create, with repository format docker",
}


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed a moment later: a connection that was cut, a busy resolver."""
    import socket

    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, ConnectionRefusedError):
        return False
    return isinstance(error, ConnectionError) or type(error).__name__ in ("SSLEOFError", "SSLZeroReturnError")


def redact(url: str) -> str:
    """Return *url* without a password and without query values that could be a credential."""
    parts = urlsplit(url)
    shown = [(key, value) for key, value in parse_qsl(parts.query) if key in _SHOWN_QUERY]
    query = "&".join(f"{key}={quote(value, safe=':/,')}" for key, value in shown)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{query}" if query else "")


def no_response(error: Exception, method: str, url: str) -> TopcoatError:
    """Return the error for a request without a complete response, for any exception of ``http``."""
    if isinstance(error, BodyTooShort):
        return InvalidImage(str(error))
    if isinstance(error, InvalidSettings):
        return RegistryUnavailable(str(error), hint=error.hint)
    host = urlsplit(url).netloc.rpartition("@")[2]
    message, hint = _network_error(error, host)
    request = f"{method} {redact(url)}"
    return RegistryUnavailable(message, hint=hint, request=request, temporary=is_transient(error))


def _network_error(error: Exception, host: str) -> tuple[str, str]:
    import socket

    cannot_connect = f"cannot connect to {host}"
    check = f"check the name, and that the registry runs: curl -i {host}/v2/"
    kind, reason = type(error).__name__, str(getattr(error, "reason", "") or "")
    if isinstance(error, socket.gaierror):
        return (
            f"{cannot_connect}: the host name cannot be resolved ({error.strerror})",
            "check the spelling of the host, and the network",
        )
    if kind == "SSLCertVerificationError":
        return (
            f"{cannot_connect}: invalid TLS certificate: {getattr(error, 'verify_message', '') or reason}",
            f"put the registry's CA into /etc/docker/certs.d/{host}/ca.crt, or name it in SSL_CERT_FILE",
        )
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return (
            f"{cannot_connect}: the server does not support TLS",
            f'if plain HTTP is right, list it in /etc/docker/daemon.json: {{"insecure-registries": ["{host}"]}}',
        )
    if isinstance(error, ConnectionRefusedError):
        return f"{cannot_connect}: connection refused", check
    if isinstance(error, ProxyRefused):
        return (
            f"{cannot_connect}: the proxy refused: {error}",
            "check HTTPS_PROXY and its user and password, or set NO_PROXY",
        )
    failed = f"request to {host} failed"
    if isinstance(error, TimeoutError):
        return f"{failed}: timed out", check
    if isinstance(error, NotHTTP):
        return f"{failed}: the server sent an invalid HTTP response: {error}", check
    if kind in ("ConnectionResetError", "BrokenPipeError", "SSLEOFError"):
        return (
            f"{failed}: the server closed the connection",
            "try again; a proxy or a firewall in between may limit the size of a request",
        )
    return f"{failed}: {getattr(error, 'strerror', None) or error or kind}", check


def refusal(
    response: Response, method: str, registry: str, repository: str, *, user: str = "", secrets: Iterable[str] = ()
) -> RegistryError:
    """Return the error for an unsuccessful response to a *method* request; reads and closes the response.

    *user* is the user whose credentials were sent, ``anonymous`` for none, empty if unknown. *secrets* are hidden if
    the registry repeats them.
    """
    code, text = error_body(response, secrets)
    status = response.status
    request = f"{method} {redact(response.url)}"
    detail = f": {text}" if text else ""
    quota_exceeded = "quota" in text.lower()
    if status in (401, 403) and not quota_exceeded:
        as_user = {"": "", "anonymous": " without a login"}.get(user, f" as {user}")
        return AuthenticationFailed(
            f"{registry} denies access to {repository}{as_user} ({status}{detail})",
            hint=_login(registry, repository),
            status=status,
            registry_code=code,
            request=request,
        )
    temporary = status in RETRIED_STATUSES
    hint = None
    if status == 429:
        wait = response.header("Retry-After")
        hint = f"the registry limits the rate; try again in {wait} s" if wait.isdigit() else "try again later"
        if registry == "docker.io" or "unauthenticated" in text.lower():
            hint += f", or log in for a higher limit: {_login(registry, repository)}"
    elif code == "NAME_UNKNOWN" or (status == 404 and method == "POST"):
        create = _by_host(_CREATE, registry, repository)
        hint = f"make the repository {repository} first" + (f": {create}" if create else "")
    elif quota_exceeded:
        hint = f"the quota of {repository} is exceeded: delete images there, or have it raised"
    elif status == 405 and method == "POST":
        hint = f"{registry} may be a read-only mirror or cache: push to the registry behind it"
    elif status == 413:
        hint = f"a proxy in front of {registry} may limit the size of a request (client_max_body_size in nginx)"
    elif method == "PUT" and (code == "MANIFEST_INVALID" or status == 415):
        hint = (
            "an old registry may not support OCI manifests, or indexes (platform=all): push the base in "
            "Docker's format, with skopeo copy --format v2s2"
        )
    elif temporary:
        hint = "the registry has a problem; try again later"
    return RegistryError(
        f"{registry} refused {request} ({status}{detail})",
        hint=hint,
        status=status,
        registry_code=code,
        request=request,
        temporary=temporary,
    )


def error_body(response: Response, secrets: Iterable[str] = ()) -> tuple[str, str]:
    """Return the first error code and the messages of a response, in one line; reads and closes the response."""
    try:
        data = response.read_all(_MAX_ERROR_BYTES)
    except NETWORK_ERRORS:
        data = b""
    code, text = "", ""
    try:
        document = json.loads(data)
        errors = document.get("errors") or [document]
        code = str(errors[0].get("code") or "")
        text = "; ".join(_error_text(error) for error in errors)
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        # Not the registry's format. A page of HTML is not shown.
        if not data.lstrip().startswith(b"<"):
            text = data.decode(errors="replace")
    text = " ".join(text.split())
    for secret in secrets:
        text = text.replace(secret, "***")
    return code, text[:_MAX_SHOWN]


def _error_text(error: dict[str, object]) -> str:
    code, message, detail = (error.get(key) for key in ("code", "message", "detail"))
    # The digest at fault: distribution gives it as a string, other registries in an object.
    digest = (detail.get("digest") or detail.get("Digest")) if isinstance(detail, dict) else detail
    text = ": ".join(str(part) for part in (code, message) if part)
    text = text or str(error.get("error_description") or error.get("error") or error.get("details") or "")
    return f"{text} ({digest})" if isinstance(digest, str) and is_digest(digest) else text


def _login(registry: str, repository: str) -> str:
    return _by_host(_LOGIN, registry, repository) or f"docker login {registry}"


def _by_host(table: dict[str, str], registry: str, repository: str) -> str:
    for end, text in table.items():
        if registry.partition(":")[0].endswith(end):
            return text.format(registry=registry, repository=repository, name=registry.partition(".")[0])
    return ""
