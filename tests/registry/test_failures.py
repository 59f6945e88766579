import json
import ssl

import pytest

from topcoat.errors import AuthenticationFailed, InvalidImage, RegistryError, RegistryUnavailable
from topcoat.http.errors import BodyTooShort, InvalidSettings, NotHTTP, ProxyRefused
from topcoat.registry.failures import error_body, no_response, redact, refusal


class _Response:
    """A response as the pool returns it."""

    def __init__(self, status, body=b"", url="https://reg.io/v2/app/manifests/1", **headers):
        self.status = status
        self.url = url
        self._body = body
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def header(self, name):
        return self._headers.get(name, "")

    def read_all(self, limit, seconds=None):
        if isinstance(self._body, Exception):
            raise self._body
        return self._body[:limit]


def _errors(*errors):
    return json.dumps({"errors": errors}).encode()


def _refused(status, body=b"", registry="reg.io", method="GET", **keys):
    return refusal(_Response(status, body), method, registry, "app", **keys)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://reg.io/v2/x?digest=sha256:ab&_state=secret", "https://reg.io/v2/x?digest=sha256:ab"),
        ("https://me:pw@reg.io/v2/", "https://reg.io/v2/"),
        ("https://s3.io/b?X-Amz-Signature=s&X-Amz-Credential=c", "https://s3.io/b"),
        ("https://a.io/token?service=s&scope=repository:x:pull,push", None),
        ("https://reg.io/v2/x?mount=sha256:ab&from=a/b", None),
    ],
)
def test_a_url_is_shown_without_what_could_be_a_credential(url, shown):
    assert redact(url) == (shown or url)


def test_the_messages_and_the_code_of_the_registry_are_shown():
    digest = "sha256:" + "a" * 64
    body = _errors({"code": "MANIFEST_INVALID", "message": "bad", "detail": {"digest": digest}}, {"code": "OTHER"})
    error = _refused(400, body, method="PUT")
    assert isinstance(error, RegistryError)
    assert error.message.endswith(f"(400: MANIFEST_INVALID: bad ({digest}); OTHER)")
    assert (error.status, error.registry_code, error.temporary) == (400, "MANIFEST_INVALID", False)
    assert error.request == "PUT https://reg.io/v2/app/manifests/1"


@pytest.mark.parametrize("detail", [{"Digest": "sha256:" + "a" * 64}, "sha256:" + "a" * 64])
def test_the_digest_that_an_error_is_about_is_shown(detail):
    error = _refused(400, _errors({"code": "MANIFEST_BLOB_UNKNOWN", "detail": detail}))
    assert f"MANIFEST_BLOB_UNKNOWN (sha256:{'a' * 64})" in str(error)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><h1>413</h1></html>", ""),
        (b"no such luck\n\nreally", "no such luck really"),
        (b'{"details":"invalid_grant"}', "invalid_grant"),
        (b'{"error":"x","error_description":"y"}', "y"),
        (b'{"message":"m"}', "m"),
        (b"[]", "[]"),
        (b'{"errors":["text"]}', '{"errors":["text"]}'),
        (b'{"errors":null}', ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 1000, "x" * 297 + "..."),
        (ConnectionResetError("cut"), ""),
    ],
)
def test_an_error_response_in_any_format_becomes_one_short_line(body, said):
    assert error_body(_Response(500, body))[1] == said


def test_a_secret_that_the_registry_repeats_is_hidden():
    error = _refused(400, _errors({"code": "X", "message": "bad token s3cret here"}), secrets=["s3cret"])
    assert "s3cret" not in str(error)
    assert "bad token *** here" in str(error)


@pytest.mark.parametrize(
    ("registry", "hint"),
    [
        ("reg.io:5000", "docker login reg.io:5000"),
        ("docker.io", "docker login"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", "aws ecr get-login-password | docker login --username AWS "),
        ("europe-docker.pkg.dev", "gcloud auth configure-docker europe-docker.pkg.dev"),
        ("eu.gcr.io", "gcloud auth configure-docker eu.gcr.io"),
        ("mine.azurecr.io", "az acr login --name mine"),
        ("ghcr.io", "docker login ghcr.io"),
    ],
)
def test_denied_access_says_how_to_log_in_there(registry, hint):
    for status in (401, 403):
        error = _refused(status, registry=registry, user="me")
        assert isinstance(error, AuthenticationFailed)
        assert error.hint.startswith(hint)
        assert f"{registry} denies access to app as me ({status})" in str(error)


def test_denied_access_names_the_user():
    assert "access to app without a login (401)" in str(_refused(401, user="anonymous"))
    assert "access to app (401)" in str(_refused(401))


@pytest.mark.parametrize(
    ("registry", "hint"),
    [
        ("reg.io", "make the repository app first"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", "aws ecr create-repository --repository-name app"),
        ("europe-docker.pkg.dev", "gcloud artifacts repositories create"),
    ],
)
def test_a_missing_repository_is_an_error_that_says_to_make_it(registry, hint):
    unknown = _errors({"code": "NAME_UNKNOWN", "message": "no repository"})
    assert hint in _refused(404, unknown, registry, method="POST").hint
    assert hint in _refused(404, b"", registry, method="POST").hint


def test_a_rate_limit_says_when_to_try_again():
    error = refusal(_Response(429, Retry_After="120"), "GET", "reg.io", "app")
    assert error.temporary
    assert error.hint == "the registry limits the rate; try again in 120 s"
    assert "docker login" in refusal(_Response(429), "GET", "docker.io", "app").hint


@pytest.mark.parametrize(("status", "temporary"), [(500, True), (503, True), (400, False), (404, False)])
def test_server_errors_are_temporary(status, temporary):
    error = _refused(status)
    assert error.temporary is temporary
    assert bool(error.hint) is temporary


@pytest.mark.parametrize(
    ("status", "method", "code", "said", "hint"),
    [
        (403, "PUT", "DENIED", "will exceed the configured quota", "the quota of app is exceeded"),
        (405, "POST", "UNSUPPORTED", "", "a read-only mirror or cache"),
        (413, "PATCH", "", "", "client_max_body_size"),
        (400, "PUT", "MANIFEST_INVALID", "", "Docker's format"),
        (415, "PUT", "", "", "Docker's format"),
        (429, "GET", "TOOMANYREQUESTS", "unauthenticated pull rate limit", "docker login reg.io"),
    ],
)
def test_a_refusal_has_a_hint(status, method, code, said, hint):
    error = _refused(status, _errors({"code": code, "message": said}), "reg.io", method=method)
    assert hint in error.hint
    assert not isinstance(error, AuthenticationFailed)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (ConnectionRefusedError(), "cannot connect to reg.io: connection refused", "curl -i reg.io/v2/"),
        (TimeoutError(), "request to reg.io failed: timed out", "curl -i reg.io/v2/"),
        (ConnectionResetError("x"), "request to reg.io failed: the server closed the connection", "firewall"),
        (NotHTTP("y"), "request to reg.io failed: the server sent an invalid HTTP response: y", "curl -i reg.io/v2/"),
        (
            ProxyRefused("407 Login", proxy="p:1"),
            "cannot connect to reg.io: the proxy p:1 refused: 407 Login",
            "HTTPS_PROXY",
        ),
        (OSError(113, "No route to host"), "request to reg.io failed: No route to host", "curl -i reg.io/v2/"),
        (InvalidSettings("invalid HTTPS_PROXY", "set it"), "invalid HTTPS_PROXY", "set it"),
    ],
)
def test_every_error_of_the_http_client_is_translated(error, message, hint):
    translated = no_response(error, "GET", "https://me:pw@reg.io/v2/")
    assert type(translated) is RegistryUnavailable
    assert str(translated) == message
    assert hint in translated.hint


def test_a_body_that_has_become_shorter_is_no_error_of_the_registry():
    assert type(no_response(BodyTooShort("ended"), "PUT", "https://reg.io/v2/")) is InvalidImage


def test_an_unknown_authority_of_another_host_has_the_hint_about_authorities():
    error = no_response(ssl.SSLCertVerificationError(), "GET", "https://store.io/x", "reg.io")
    assert str(error).startswith("reg.io points to store.io: cannot connect to store.io: invalid TLS certificate")
    assert "/etc/docker/certs.d/store.io/ca.crt" in error.hint
