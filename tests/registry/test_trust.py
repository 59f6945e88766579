"""Where secrets were seen, after any sequence of redirects, challenges and token services."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.places import Place, response
from topcoat.errors import AuthenticationFailed, RegistryError, TopcoatError
from topcoat.http.origin import Origin
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.registry import trust
from topcoat.registry.client import RegistryClient
from topcoat.registry.transport import Transport

from .conftest import write_docker_config

_PASSWORD, _IDENTITY = "p4ssw0rd-secret", "identity-secret"
_BASIC = base64.b64encode(f"me:{_PASSWORD}".encode()).decode()
_SECRETS = (_PASSWORD, _BASIC, _IDENTITY, base64.b64encode(f"me:{_IDENTITY}".encode()).decode())
_BLOB = b"blob"
_DESCRIPTOR = Descriptor("", sha256_digest(_BLOB), len(_BLOB))
# The registry, a service on the same host, and two other hosts.
_ADDRESSES = ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3")
_REGISTRY = 0


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    from tests.support.certificates import make_certificates

    tls = make_certificates(tmp_path_factory.mktemp("certificates")).tls
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Place(address, tls)) for address in _ADDRESSES]


def _script(places, number, actions, secure_registry):
    """Let a place do its *actions* in turn, and grant a token at /token."""
    left = list(actions)

    def respond(seen):
        if seen.target.startswith("/token") and not (left and left[0][0] == "redirect-token"):
            return response(200, json.dumps({"token": f"token-of-{number}"}))
        if number == _REGISTRY and secure_registry and not seen.secure:
            return response(400)
        action, target, secure = left.pop(0) if left else ("ok", number, False)
        url = places[target].url("/v2/x?state=1", secure=secure)
        if action in ("redirect", "redirect-token"):
            return response(307, Location=url)
        if action == "challenge":
            realm = places[target].url("/token", secure=secure)
            return response(401, WWW_Authenticate=f'Bearer realm="{realm}",service="s"')
        if action == "basic":
            return response(401, WWW_Authenticate='Basic realm="x"')
        if action == "session":
            return response(202, Location=url)
        return response(201 if seen.head.startswith("PUT") else 404)

    places[number].seen.clear()
    places[number].respond = respond


_ACTIONS = st.tuples(
    st.sampled_from(["redirect", "redirect-token", "challenge", "challenge", "basic", "session", "ok"]),
    st.integers(0, len(_ADDRESSES) - 1),
    st.booleans(),
)
_EVIL = ("challenge", 3, True)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(st.lists(_ACTIONS, max_size=4), min_size=4, max_size=4),
    st.booleans(),
    st.sampled_from(["password", "identity"]),
)
@example([[("redirect", 2, True)], [], [_EVIL] * 3, []], True, "password")
@example([[("redirect", 2, True)] * 3, [], [_EVIL] * 3, []], False, "identity")
@example([[("redirect", 0, True)], [], [], []], False, "password")
@example([[_EVIL], [], [], []], False, "identity")
@example([[_EVIL], [], [], [("redirect-token", 2, True)]], True, "identity")
@example([[("challenge", 1, False)], [], [], []], True, "password")
@example([[("basic", 0, False), ("redirect", 2, True)], [], [], []], False, "password")
@example([[("redirect", 2, True)], [], [("redirect", 0, True)], []], True, "password")
@example([[("basic", 0, False), ("session", 2, True)], [], [_EVIL, _EVIL], []], True, "password")
def test_a_secret_is_seen_by_its_origin_and_by_the_token_service_that_this_origin_named(
    home, places, scripts, secure_registry, login
):
    for number, actions in enumerate(scripts):
        _script(places, number, actions, secure_registry)
    registry = places[_REGISTRY]
    entry = {"auth": _BASIC} if login == "password" else {"username": "me", "identitytoken": _IDENTITY}
    write_docker_config(home, {"auths": {registry.host: entry}})
    with RegistryClient(registry.host) as client:
        for act in (
            lambda: client.head_manifest("app", "1"),
            lambda: client.finish_upload("app", client.start_upload("app"), _BLOB, _DESCRIPTOR),
            lambda: client.has_blob("app", _DESCRIPTOR),
        ):
            with contextlib.suppress(TopcoatError):
                act()
    named = {(target, secure) for action, target, secure in scripts[_REGISTRY] if action == "challenge"}
    for number, place in enumerate(places):
        for seen in place.seen:
            text = seen.head + seen.body
            if any(f"token-of-{other}" in text for other in range(len(places))):
                assert number == _REGISTRY, f"a token reached {place.host}"
            if number == _REGISTRY or not any(secret in text for secret in _SECRETS):
                continue
            assert (number, seen.secure) in named, f"a secret reached {place.host}, which the registry did not name"
            on_same_host = _ADDRESSES[number] == _ADDRESSES[_REGISTRY]
            assert seen.secure if secure_registry else on_same_host, f"a secret reached {place.host} by {seen}"


def _login(home, place):
    write_docker_config(home, {"auths": {place.host: {"auth": _BASIC}}})


def test_the_password_is_not_sent_to_the_token_service_that_a_redirects_target_names(home, places):
    registry, _, storage, evil = places
    _login(home, registry)
    _script(places, 0, [("redirect", 2, True)] * 4, secure_registry=True)
    _script(places, 2, [_EVIL] * 4, secure_registry=False)
    _script(places, 3, [], secure_registry=False)
    with (
        RegistryClient(registry.host) as client,
        pytest.raises(RegistryError, match=f"{registry.host} points to {storage.host}, which refused") as raised,
    ):
        client.get_manifest("app", "1")
    assert not isinstance(raised.value, AuthenticationFailed)
    assert evil.seen == []
    assert _BASIC not in storage.received()


def test_a_loopback_registry_that_redirects_to_its_own_tls_gets_no_password_in_plain_http(home, places):
    registry = places[0]
    _login(home, registry)

    def respond(seen):
        if not seen.secure:
            return response(301, Location=registry.url(seen.target, secure=True))
        if _BASIC not in seen.head:
            return response(401, WWW_Authenticate='Basic realm="x"')
        if seen.head.startswith("POST"):
            return response(202, Location="/session")
        return response(201, Docker_Content_Digest=_DESCRIPTOR.digest)

    registry.seen.clear()
    registry.respond = respond
    with RegistryClient(registry.host) as client:
        client.finish_upload("app", client.start_upload("app"), _BLOB, _DESCRIPTOR)
    assert [seen.secure for seen in registry.seen if _BASIC in seen.head] == [True, True]
    assert [seen.secure for seen in registry.seen] == [False, True, True, True]


def test_a_token_service_that_redirects_elsewhere_gets_no_second_request_with_the_login(home, places):
    registry, service, _, elsewhere = places
    write_docker_config(home, {"auths": {registry.host: {"identitytoken": _IDENTITY}}})
    _script(places, 0, [("challenge", 1, False)], secure_registry=False)
    _script(places, 1, [("redirect-token", 3, True)], secure_registry=False)
    _script(places, 3, [], secure_registry=False)
    with (
        RegistryClient(registry.host) as client,
        pytest.raises(RegistryError, match="the login is not sent there"),
    ):
        client.get_manifest("app", "1")
    assert _IDENTITY in service.received()
    assert elsewhere.seen == []


def test_a_plain_registry_may_name_a_token_service_elsewhere_only_for_anonymous_tokens(home, places):
    registry, _, _, elsewhere = places
    _script(places, 0, [("challenge", 3, True)], secure_registry=False)
    _script(places, 3, [], secure_registry=False)
    with RegistryClient(registry.host) as client:
        assert client.head_manifest("app", "1") is None
    assert "token-of-3" in registry.received()
    _login(home, registry)
    _script(places, 0, [("challenge", 3, True)], secure_registry=False)
    _script(places, 3, [], secure_registry=False)
    with (
        RegistryClient(registry.host) as client,
        pytest.raises(RegistryError, match="the login is not sent there") as raised,
    ):
        client.head_manifest("app", "1")
    assert "TLS" in raised.value.hint
    assert elsewhere.seen == []


def test_an_upload_session_back_at_the_registry_that_another_host_names_is_refused(home, places):
    registry = places[0]
    _login(home, registry)
    _script(places, 0, [("redirect", 2, True)], secure_registry=True)
    _script(places, 2, [("session", 0, True)], secure_registry=False)
    with RegistryClient(registry.host) as client, pytest.raises(RegistryError, match="names an upload session"):
        client.start_upload("app")


def test_a_user_and_a_password_in_a_location_are_dropped_and_not_shown(places):
    transport = Transport(places[0].host)
    source = places[0].url()
    assert transport.check("http://me:pw@127.0.0.1/x?a=b", source=source) == "http://127.0.0.1/x?a=b"
    for url in ("http://me:pw@[::1", "http://me:pw@host:port/", "https://me:pw@a..b/", "ftp://me:pw@h/"):
        with pytest.raises(RegistryError, match="is not a URL") as raised:
            transport.check(url, source=source)
        assert "pw" not in str(raised.value)
    transport.close()


@pytest.mark.parametrize(
    ("address", "allow_private", "setting", "why"),
    [
        ("8.8.8.8", False, "", ""),
        ("10.0.0.1", True, "", ""),
        ("127.0.0.1", True, "", ""),
        ("10.0.0.1", False, "", "private network"),
        ("100.64.0.1", False, "", "private network"),
        ("::ffff:10.0.0.1", False, "", "private network"),
        ("fd00::1", False, "", "private network"),
        ("10.0.0.1", False, "store.corp", ""),
        ("10.0.0.1", False, "other.corp", "private network"),
        ("10.0.0.1", False, ".corp", ""),
        ("10.0.0.1", False, "10.0.0.0/8", ""),
        ("64:ff9b::a00:1", False, "", "private network"),
        ("2002:a00:1::", False, "", "private network"),
        ("64:ff9b::a9fe:a9fe", True, "*", "link-local"),
        ("2001:4860:4860::8888", False, "", ""),
        ("10.0.0.1", False, "store.corp:9000", ""),
        ("169.254.169.254", False, "", "link-local"),
        ("169.254.169.254", True, "*", "link-local"),
        ("::ffff:169.254.169.254", True, "*", "link-local"),
        ("fe80::1%eth0", True, "*", "link-local"),
    ],
)
def test_the_resolved_address_of_a_named_host_counts(monkeypatch, address, allow_private, setting, why):
    monkeypatch.setenv(trust.ALLOW_PRIVATE, setting)
    target = Origin("https", "store.corp", 9000)
    if not why:
        trust.check_address(address, target, "reg.io", allow_private=allow_private)
        return
    with pytest.raises(RegistryError, match=why) as raised:
        trust.check_address(address, target, "reg.io", allow_private=allow_private)
    if why == "private network":
        assert raised.value.hint.endswith(f"export {trust.ALLOW_PRIVATE}=store.corp")


@pytest.fixture
def names(monkeypatch):
    """Resolve reg.corp and store.corp to loopback."""
    import socket

    resolve = socket.getaddrinfo

    def getaddrinfo(host, *args, **keys):
        return resolve(b"127.0.0.1" if host in (b"reg.corp", b"store.corp") else host, *args, **keys)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("public", [False, True])
def test_a_name_that_resolves_to_a_private_address_is_refused_for_a_public_registry_only(
    names, places, monkeypatch, public
):
    registry, storage = (
        f"{name}.corp:{place.host.partition(':')[2]}" for name, place in zip(("reg", "store"), places[:2], strict=True)
    )
    places[0].respond = lambda seen: response(307, Location=f"http://{storage}/x")
    places[1].respond = lambda seen: response(200, "content")
    places[1].seen.clear()
    if public:
        # As if the registry had been reached at a public address.
        monkeypatch.setattr("topcoat.registry.transport.Transport._is_private", lambda self, url: False)
    transport = Transport(registry, insecure=True)
    transport._scheme = "http"
    if not public:
        assert transport.send("GET", "/v2/", {}).read_all(100) == b"content"
    else:
        with pytest.raises(RegistryError, match=r"store\.corp \(127\.0\.0\.1\), an address of a private network"):
            transport.send("GET", "/v2/", {})
        assert places[1].seen == []
        monkeypatch.setenv(trust.ALLOW_PRIVATE, "store.corp")
        assert transport.send("GET", "/v2/", {}).read_all(100) == b"content"
    transport.close()
