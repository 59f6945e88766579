"""Translate exceptions of ``http`` and error responses into errors with a hint; nothing else does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, urlsplit

from topcoat.errors import AuthenticationFailed, InvalidImage, RegistryError, RegistryUnavailable, TopcoatError
from topcoat.foreign_text import escaped, parse_json
from topcoat.http.errors import BodyTooShort, InvalidSettings, NotHTTP, ProxyRefused, TooSlow
from topcoat.http.pool import Response
from topcoat.oci.digest import is_digest
from topcoat.registry.headers import parse_retry_after

NETWORK_ERRORS = (OSError, NotHTTP)
"""What a connection raises, as opposed to a bug or an error of ours."""

RETRIED_STATUSES = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
"""Statuses that mean "later" (499 and 522 come from proxies in front of a registry)."""

IN_ITS_PLACE = "check the registry's address: a proxy, a login page or a web server may respond in its place"
"""The hint for a response that no registry would send."""

_SHOWN_QUERY = frozenset({"digest", "mount", "from", "service", "scope"})
_MAX_ERROR_BYTES = 64 * 1024
# The status matters more than the text.
_ERROR_TIMEOUT_S = 10.0
_MAX_SHOWN = 300
_MAX_SHOWN_URL = 1000
_CODE = r"[A-Za-z0-9_.-]{1,100}"
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
    ".amazonaws.com": "-cfg create_repository=true, or aws ecr create-repository --repository-name {repository}",
    ".pkg.dev": "gcloud artifacts repositories create, with repository format docker",
}


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed a moment later: a connection that was cut, a busy resolver."""
    import socket

    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, ConnectionRefusedError):
        return False
    if isinstance(error, ProxyRefused):
        return error.status in RETRIED_STATUSES or (
            not error.status and error.__cause__ is not None and is_transient(error.__cause__)
        )
    return isinstance(error, ConnectionError) or type(error).__name__ in ("SSLEOFError", "SSLZeroReturnError")


def redact(url: str) -> str:
    """Return *url* to be shown: without a password and without query values that could be a credential."""
    try:
        parts = urlsplit(url)
        shown = [(key, value) for key, value in parse_qsl(parts.query) if key in _SHOWN_QUERY]
    except ValueError:
        return "an invalid URL"
    query = "&".join(f"{key}={quote(value, safe=':/,')}" for key, value in shown)
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{query}" if query else "")
    return escaped(text, _MAX_SHOWN_URL)


def no_response(error: Exception, method: str, url: str, registry: str = "") -> TopcoatError:
    """Return the error for a request without a complete response, for any exception of ``http``.

    *registry* (``host[:port]``) is named too if the request went to another host, to which it points.
    """
    if isinstance(error, BodyTooShort):
        return InvalidImage(str(error))
    if isinstance(error, InvalidSettings):
        return RegistryUnavailable(str(error), hint=error.hint)
    host = urlsplit(url).netloc.rpartition("@")[2]
    message, hint = _network_error(error, host)
    if registry and host.lower() != registry.lower() and not isinstance(error, ProxyRefused):
        message = f"{registry} points to {host}: {message}"
        if type(error).__name__ != "SSLCertVerificationError":
            hint = f"check that this machine can reach {host}, and that {registry} is right to name it: {redact(url)}"
    request = f"{method} {redact(url)}"
    return RegistryUnavailable(message, hint=hint, request=request, temporary=is_transient(error))


# What OpenSSL reports when the server ends the handshake because of the client's certificate.
_REJECTED_CERTIFICATE = r"BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_(EXPIRED|REVOKED|UNKNOWN)|DECRYPT_ERROR|ACCESS_DENIED"


def _network_error(error: BaseException, host: str) -> tuple[str, str]:
    """Return what is wrong with *host*, and a hint."""
    if isinstance(error, ProxyRefused):
        return _proxy_error(error, host)
    cannot_connect, failed = f"cannot connect to {host}", f"request to {host} failed"
    check = f"check the name, and that the registry runs: curl -i {host}/v2/"
    kind, reason = type(error).__name__, str(getattr(error, "reason", "") or "")
    certs = f"/etc/docker/certs.d/{host}/"
    if kind == "gaierror":
        return (
            f"{cannot_connect}: the host name cannot be resolved ({getattr(error, 'strerror', '')})",
            "check the spelling of the host, and the network",
        )
    if kind == "SSLCertVerificationError":
        return (
            f"{cannot_connect}: invalid TLS certificate: {getattr(error, 'verify_message', '') or reason}",
            f"put the registry's CA into {certs}ca.crt, or name it in SSL_CERT_FILE",
        )
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return (
            f"{cannot_connect}: the server does not support TLS",
            f'if plain HTTP is right, list it in /etc/docker/daemon.json: {{"insecure-registries": ["{host}"]}}',
        )
    if "CERTIFICATE_REQUIRED" in reason:
        return (
            f"{cannot_connect}: the server requires a client certificate",
            f"put client.cert and client.key into {certs}",
        )
    if "ALERT" in reason and re.search(_REJECTED_CERTIFICATE, reason):
        return (
            f"{cannot_connect}: the server rejects the client certificate ({_words(reason)})",
            f"check that client.cert in {certs} is valid, and issued by an authority that the server trusts",
        )
    if "HANDSHAKE_FAILURE" in reason or "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return (
            f"{cannot_connect}: the TLS handshake failed ({_words(reason)})",
            f"the server may require a client certificate (client.cert and client.key in {certs}), or an old TLS "
            "version",
        )
    if isinstance(error, ConnectionRefusedError):
        return f"{cannot_connect}: connection refused", check
    if isinstance(error, TooSlow):
        return f"{failed}: the transfer is {error}", "check the network, and try again"
    if isinstance(error, TimeoutError):
        return f"{failed}: timed out", check
    if isinstance(error, NotHTTP):
        return f"{failed}: the server sent an invalid HTTP response: {error}", check
    if kind in ("ConnectionResetError", "BrokenPipeError", "SSLEOFError"):
        return (
            f"{failed}: the server closed the connection",
            "try again; a proxy or a firewall in between may limit the size of a request, or the server wants a client "
            f"certificate (client.cert and client.key in {certs})",
        )
    reason = _words(reason) if reason else str(getattr(error, "strerror", None) or error or kind)
    return f"{failed}: {escaped(reason, _MAX_SHOWN)}", check


def _proxy_error(error: ProxyRefused, host: str) -> tuple[str, str]:
    hint = "check HTTPS_PROXY and HTTP_PROXY, with user and password, or set NO_PROXY"
    if error.status or error.__cause__ is None:
        return f"cannot connect to {host}: the proxy {error.proxy} refused: {error}", hint
    message, _ = _network_error(error.__cause__, error.proxy)
    return f"cannot connect to {host} through the proxy: {message}", hint


def _words(reason: str) -> str:
    """Return an error of OpenSSL, such as ``TLSV1_ALERT_UNKNOWN_CA``, in words."""
    return re.sub(r"^(TLSV\d+_|SSLV\d_)?(ALERT_)?", "", reason).replace("_", " ").lower()


def refusal(
    response: Response,
    method: str,
    registry: str,
    repository: str,
    *,
    user: str = "",
    secrets: Iterable[str] = (),
    elsewhere: bool = False,
) -> RegistryError:
    """Return the error for an unsuccessful response to a *method* request; reads and closes the response.

    *user* is the user whose credentials were sent, ``anonymous`` for none, empty if unknown. *secrets* are hidden if
    the registry repeats them. *elsewhere* means a host that the registry points to, which gets no credentials.
    """
    code, text = error_body(response, secrets)
    status = response.status
    request = f"{method} {redact(response.url)}"
    detail = f": {text}" if text else ""
    quota_exceeded = "quota" in text.lower()
    temporary = status in RETRIED_STATUSES
    if elsewhere:
        host = urlsplit(response.url).netloc
        return RegistryError(
            f"{registry} points to {host}, which refused {request} ({status}{detail})",
            hint=f"{host} is what refuses, not the login: a firewall in between, an expired address (check the clock), "
            "or a mistake in the registry's settings",
            status=status,
            request=request,
            temporary=temporary,
        )
    if status in (401, 403) and not quota_exceeded:
        as_user = {"": "", "anonymous": " without a login"}.get(user, f" as {user}")
        return AuthenticationFailed(
            f"{registry} denies access to {repository}{as_user} ({status}{detail})",
            hint=_login(registry, repository),
            status=status,
            registry_code=code,
            request=request,
        )
    hint = None
    if status == 429:
        wait = parse_retry_after(response.header("Retry-After"))
        hint = f"the registry limits the rate; try again in {wait:.0f} s" if wait else "try again later"
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
        data = response.read_all(_MAX_ERROR_BYTES, _ERROR_TIMEOUT_S)
    except NETWORK_ERRORS:
        data = b""
    code, text = "", ""
    try:
        document = parse_json(data)
        errors = document.get("errors") or [document]
        code = str(errors[0].get("code") or "")
        text = "; ".join(_error_text(error) for error in errors)
    except (ValueError, AttributeError, LookupError, TypeError):
        # Not the registry's format. A page of HTML is not shown.
        if not data.lstrip().startswith(b"<"):
            text = data.decode(errors="replace")
    for secret in secrets:
        text = text.replace(secret, "***")
    text = " ".join(text.split())
    return code if re.fullmatch(_CODE, code) else "", escaped(text, _MAX_SHOWN)


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
