"""What goes wrong on the way to a registry, as errors of ours with something to type next.

Foreign exceptions and error answers are translated here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, urlsplit

from topcoat.errors import AuthenticationFailed, RegistryError, RegistryUnavailable
from topcoat.http.pool import Response
from topcoat.http.response_head import NotHTTP
from topcoat.oci.digest import is_digest

RETRIED = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
"""Statuses that say "later" (499 and 522 come from proxies in front of a registry)."""

_SHOWN_QUERY = frozenset({"digest", "mount", "from", "service", "scope"})
_MOST_ERROR_BYTES = 64 * 1024
# What to type to log in, and to make a repository, by the end of the registry's host name.
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


def is_network_error(error: BaseException) -> bool:
    """Tell whether *error* comes from the connection, and not from a bug or from us."""
    return isinstance(error, (OSError, NotHTTP))


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may well succeed a moment later: a connection that was cut, a busy resolver."""
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


def unreachable(error: BaseException, method: str, url: str) -> RegistryUnavailable:
    """Return the error for a connection that failed or broke."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    why, hint = _connection_trouble(error, host)
    return RegistryUnavailable(
        f"cannot reach {host}: {why}",
        hint=hint,
        request=f"{method} {redact(url)}",
        temporary=is_transient(error),
    )


def _connection_trouble(error: BaseException, host: str) -> tuple[str, str]:
    import socket

    check = f"check the name, and that the registry runs: curl -i {host}/v2/"
    kind, reason = type(error).__name__, str(getattr(error, "reason", "") or "")
    if isinstance(error, socket.gaierror):
        return (
            f"its name cannot be resolved ({error.strerror})",
            "check the spelling of the host, and the network",
        )
    if kind == "SSLCertVerificationError":
        said = str(getattr(error, "verify_message", "")) or reason
        return f"its TLS certificate is not valid here: {said}", (
            f"put the registry's CA into /etc/docker/certs.d/{host}/ca.crt, or name it in SSL_CERT_FILE"
        )
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS there", (
            f'if plain HTTP is right, list it in /etc/docker/daemon.json: {{"insecure-registries": ["{host}"]}}'
        )
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there", check
    if isinstance(error, TimeoutError):
        return "no answer in time", check
    said = str(error)
    if "Tunnel connection failed" in said:
        return f"the proxy refuses: {said}", "check HTTPS_PROXY and its user and password, or set NO_PROXY"
    if kind in ("ConnectionResetError", "BrokenPipeError", "SSLEOFError"):
        return (
            "it cut the connection",
            "try again; a proxy or a firewall in between may limit the size of a request",
        )
    if isinstance(error, NotHTTP):
        return f"what answers there does not speak HTTP: {said}", check
    return (getattr(error, "strerror", None) or said or kind), check


def refusal(
    response: Response,
    method: str,
    registry: str,
    repository: str,
    *,
    who: str = "",
    secrets: Iterable[str] = (),
) -> RegistryError:
    """Return the error for an answer that is not what was asked for; reads and closes the answer.

    Args:
        response: the answer.
        method: of the request.
        registry: as in an image reference.
        repository: what the request was about.
        who: the user whose credentials were sent, ``anonymous`` for none; empty where that is not known.
        secrets: what must not be shown even if the registry repeats it.
    """
    code, said = error_body(response, secrets)
    status = response.status
    request = f"{method} {redact(response.url)}"
    detail = f": {said}" if said else ""
    used_up = "quota" in said.lower()
    if status in (401, 403) and not used_up:
        as_whom = {"": "", "anonymous": " without a login"}.get(who, f" as {who}")
        return AuthenticationFailed(
            f"{registry} denies access to {repository}{as_whom} ({status}{detail})",
            hint=_login(registry, repository),
            status=status,
            registry_code=code,
            request=request,
        )
    temporary = status in RETRIED
    hint = None
    if status == 429:
        wait = response.header("Retry-After")
        hint = f"the registry limits the rate; try again in {wait} s" if wait.isdigit() else "try again later"
        if registry == "docker.io" or "unauthenticated" in said.lower():
            hint += f", or log in for a higher limit: {_login(registry, repository)}"
    elif code == "NAME_UNKNOWN" or (status == 404 and method == "POST"):
        create = _by_host(_CREATE, registry, repository)
        hint = f"make the repository {repository} first" + (f": {create}" if create else "")
    elif used_up:
        hint = f"the quota of {repository} is used up: delete what is no longer needed there, or have it raised"
    elif status == 405 and method == "POST":
        hint = f"is {registry} a mirror or a cache, which can only be read? Push to the registry behind it"
    elif status == 413:
        hint = f"a proxy in front of {registry} may limit the size of a request (client_max_body_size in nginx)"
    elif method == "PUT" and (code == "MANIFEST_INVALID" or status == 415):
        hint = (
            "an old registry takes no manifests of OCI's format, or no index (platform=all): push the base in "
            "Docker's format, with skopeo copy --format v2s2"
        )
    elif temporary:
        hint = "the registry is in trouble; try again later"
    return RegistryError(
        f"{registry} refused {request} ({status}{detail})",
        hint=hint,
        status=status,
        registry_code=code,
        request=request,
        temporary=temporary,
    )


def error_body(response: Response, secrets: Iterable[str] = ()) -> tuple[str, str]:
    """Return the first error code of an answer and what its errors say, in one line; reads and closes the answer."""
    try:
        data = response.read_all(_MOST_ERROR_BYTES)
    except Exception as error:
        if not is_network_error(error):
            raise
        data = b""
    code, said = "", ""
    try:
        document = json.loads(data)
        errors = document.get("errors") or [document]
        code = str(errors[0].get("code") or "")
        said = "; ".join(_one_error(error) for error in errors)
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        # Not the registry's format; a page of HTML would only be in the way.
        if not data.lstrip().startswith(b"<"):
            said = data.decode(errors="replace")
    said = " ".join(said.split())
    for secret in secrets:
        said = said.replace(secret, "***")
    return code, said[:300]


def _one_error(error: dict[str, object]) -> str:
    code, message, detail = (error.get(key) for key in ("code", "message", "detail"))
    # What it is about: distribution gives the digest alone, others an object.
    about = (detail.get("digest") or detail.get("Digest")) if isinstance(detail, dict) else detail
    known = about if isinstance(about, str) and is_digest(about) else ""
    text = ": ".join(str(part) for part in (code, message) if part)
    text = text or str(error.get("error_description") or error.get("error") or error.get("details") or "")
    return f"{text} ({known})" if known else text


def _login(registry: str, repository: str) -> str:
    return _by_host(_LOGIN, registry, repository) or f"docker login {registry}"


def _by_host(table: dict[str, str], registry: str, repository: str) -> str:
    for end, text in table.items():
        if registry.partition(":")[0].endswith(end):
            return text.format(registry=registry, repository=repository, name=registry.partition(".")[0])
    return ""
