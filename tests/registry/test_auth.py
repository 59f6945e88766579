import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import AuthenticationFailed, CredentialError, RegistryError
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.registry.client import RegistryClient
from topcoat.registry.headers import Challenge, parse_challenges
from topcoat.testing.registry import FakeRegistry, Token

from .conftest import docker_login, request_log, write_docker_config

_TOKEN = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}", fullmatch=True)
_PARAMS = st.dictionaries(_TOKEN.map(str.lower), st.text(st.characters(min_codepoint=32, max_codepoint=126)))
_BLOB = b"blob"
_DESCRIPTOR = Descriptor("", sha256_digest(_BLOB), len(_BLOB))


def _quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tokens(registry):
    return [request for request in registry.requests if request.path.startswith("/token")]


def _push(client, repository="app"):
    client.finish_upload(repository, client.start_upload(repository), _BLOB, _DESCRIPTOR)


@pytest.mark.parametrize(
    ("values", "challenges"),
    [
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (
            ['Bearer realm="https://a.io/token",service="s",scope="repository:x:pull,push"'],
            [("bearer", {"realm": "https://a.io/token", "service": "s", "scope": "repository:x:pull,push"})],
        ),
        (["Bearer realm=https://a.io/t, service = s"], [("bearer", {"realm": "https://a.io/t", "service": "s"})]),
        (['BASIC Realm="a, b=\\"c\\""'], [("basic", {"realm": 'a, b="c"'})]),
        (['Negotiate, Basic realm="x"'], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["Negotiate", 'Basic realm=""'], [("negotiate", {}), ("basic", {"realm": ""})]),
        (['Bearer realm="a", Basic realm="b"'], [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
        ([""], []),
        (["=", ',,"'], []),
    ],
)
def test_challenges_are_parsed(values, challenges):
    assert parse_challenges(values) == tuple(Challenge(*challenge) for challenge in challenges)


@given(st.lists(st.tuples(_TOKEN, _PARAMS), min_size=1, max_size=3))
def test_any_list_of_challenges_is_parsed(challenges):
    text = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={_quoted(value)}" for name, value in params.items())
        for scheme, params in challenges
    )
    assert parse_challenges([text]) == tuple(Challenge(scheme.lower(), params) for scheme, params in challenges)


@given(st.text())
def test_any_text_can_be_parsed_as_challenges(text):
    parse_challenges([text])


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_no_credentials_are_sent_before_a_challenge(home, auth):
    with FakeRegistry(auth=auth) as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        _push(client)
        assert "authorization" not in registry.requests[0].headers
        assert request_log(registry) == [("POST", 401), ("POST", 202), ("PUT", 201)]


def test_basic_needs_no_further_request(home):
    with FakeRegistry(auth="basic") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        _push(client)
        _push(client, "other")
        assert [status for _, status in request_log(registry)] == [401, 202, 201, 202, 201]


def test_one_token_is_used_for_all_requests_that_it_covers(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        _push(client)
        _push(client)
        assert client.has_blob("app", _DESCRIPTOR)
        (token,) = _tokens(registry)
        assert token.path == "/token?service=fake&scope=repository%3Aapp%3Apull%2Cpush"


def test_an_expected_push_needs_one_token(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        client.expect_push("app")
        assert client.head_manifest("app", "1") is None
        _push(client)
        assert len(_tokens(registry)) == 1


def test_threads_share_one_token_request(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        threads = [threading.Thread(target=_push, args=(client,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(_tokens(registry)) == 1
        assert len([status for _, status in request_log(registry) if status == 201]) == 6


def test_an_expiring_token_is_renewed_before_it_is_used(home, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with FakeRegistry(auth="bearer", token_seconds=300) as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        _push(client)
        now[0] += 280
        _push(client)
        assert len(_tokens(registry)) == 2
        assert 401 not in [status for _, status in request_log(registry)][1:]


def test_a_revoked_token_is_renewed_and_the_body_sent_again(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        location = client.start_upload("app")
        registry.tokens.clear()
        client.finish_upload("app", location, _BLOB, _DESCRIPTOR)
        assert request_log(registry)[-2:] == [("PUT", 401), ("PUT", 201)]
        assert registry.blobs[_DESCRIPTOR.digest] == _BLOB


def test_the_token_for_a_mount_names_the_target_before_the_source(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        registry.add_blob("base", _BLOB)
        assert client.mount("app", _DESCRIPTOR, "base") is None
        (token,) = _tokens(registry)
        assert token.path.endswith("&scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Abase%3Apull")
        assert client.has_blob("base", _DESCRIPTOR)
        assert len(_tokens(registry)) == 1


def test_a_token_service_that_grants_only_the_first_scope_allows_a_push(home):
    with FakeRegistry(auth="bearer", quirks={"first-scope-only"}) as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        registry.add_blob("base", _BLOB)
        location = client.mount("app", _DESCRIPTOR, "base")
        client.finish_upload("app", location, _BLOB, _DESCRIPTOR)
        assert _DESCRIPTOR.digest in registry.repositories["app"].blobs


def test_an_identity_token_is_exchanged(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host, "x", "", identitytoken="identity-of-tester")
        _push(client)
        (token,) = _tokens(registry)
        assert (token.method, token.path) == ("POST", "/token")
        assert "authorization" not in token.headers


@pytest.mark.parametrize("status", [404, 405])
def test_an_identity_token_is_used_as_a_password_without_oauth(home, status):
    with FakeRegistry(auth="bearer", quirks={"no-oauth"}) as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host, "x", "", identitytoken="identity-of-tester")
        if status == 405:
            registry.fail(405, method="POST", path="/token")
        _push(client)
        assert [(r.method, r.status) for r in _tokens(registry)] == [("POST", status), ("GET", 200)]


def test_a_registry_token_is_used_as_it_is(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        registry.tokens["ready"] = Token(frozenset({("app", "pull"), ("app", "push")}), float("inf"), True, [])
        write_docker_config(home, {"auths": {registry.host: {"registrytoken": "ready"}}})
        _push(client)
        assert _tokens(registry) == []


def test_a_public_registry_gives_a_token_to_anyone():
    with FakeRegistry(auth="bearer", public=True) as registry, RegistryClient(registry.host) as client:
        registry.add_image("app", "1")
        client.get_manifest("app", "1")
        assert "authorization" not in _tokens(registry)[0].headers
        with pytest.raises(AuthenticationFailed, match="denies access to app without a login") as caught:
            client.start_upload("app")
        assert caught.value.hint == f"docker login {registry.host}"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_the_error_for_a_wrong_password_names_the_user_and_hides_the_password(home, auth):
    with FakeRegistry(auth=auth) as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host, "tester", "wr0ng-pw")
        with pytest.raises(AuthenticationFailed, match=r"as tester \(401") as caught:
            client.start_upload("app")
        assert "wr0ng-pw" not in f"{caught.value} {caught.value.hint} {caught.value.request}"
        assert caught.value.hint == f"docker login {registry.host}"
        assert len(registry.requests) <= 3


def test_a_refused_password_is_sent_once_for_each_request(home):
    with FakeRegistry(auth="basic") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host, "tester", "wr0ng-pw")
        for count in (2, 3):
            with pytest.raises(AuthenticationFailed):
                client.start_upload("app")
            assert len(registry.requests) == count


def test_a_missing_login_is_an_error_with_the_login_command(home):
    with FakeRegistry(auth="basic") as registry, RegistryClient(registry.host) as client:
        with pytest.raises(AuthenticationFailed, match=f"{registry.host} needs a login") as caught:
            client.start_upload("app")
        assert caught.value.hint == f"docker login {registry.host}"


def test_a_broken_credential_store_only_matters_after_a_challenge(home, fake, client):
    write_docker_config(home, "{")
    _push(client)
    with FakeRegistry(auth="basic") as registry, RegistryClient(registry.host) as other, pytest.raises(CredentialError):
        _push(other)


def _challenge(registry, value, **keys):
    registry.fail(401, headers={"WWW-Authenticate": value}, **keys)


def test_bearer_is_preferred_if_both_are_offered(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        _challenge(registry, f'Basic realm="x", Bearer realm="http://{registry.host}/token",service="fake"')
        _push(client)
        assert len(_tokens(registry)) == 1


def test_an_unknown_scheme_is_named(fake, client):
    _challenge(fake, "Negotiate")
    with pytest.raises(AuthenticationFailed, match="wants negotiate authentication"):
        client.start_upload("app")


def test_a_401_without_a_challenge_is_final(fake, client):
    fake.fail(401)
    with pytest.raises(AuthenticationFailed, match="denies access to app"):
        client.start_upload("app")
    assert len(fake.requests) == 1


def test_credentials_are_not_sent_to_a_realm_without_tls(home, certificates):
    with FakeRegistry(tls=certificates.tls) as registry, FakeRegistry() as realm:
        docker_login(home, registry.host)
        _challenge(registry, f'Bearer realm="http://{realm.host}/token"')
        with RegistryClient(registry.host) as client, pytest.raises(RegistryError, match="is not encrypted"):
            client.start_upload("app")
        assert realm.requests == []


@pytest.mark.parametrize("value", ["Bearer", 'Bearer realm="not a url"', 'Bearer realm="ftp://x/"'])
def test_a_realm_that_is_not_a_url_is_refused(fake, client, value):
    _challenge(fake, value)
    with pytest.raises(RegistryError, match="which is not a URL"):
        client.start_upload("app")


def test_the_scope_of_the_challenge_is_requested_first(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        realm = f'realm="http://{registry.host}/token?x=1"'
        _challenge(registry, f'Bearer {realm},service="fake",scope="aws repository:app:pull"')
        client.head_manifest("app", "1")
        (token,) = _tokens(registry)
        assert token.path == "/token?x=1&service=fake&scope=aws&scope=repository%3Aapp%3Apull"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"hello", "did not send a JSON object"),
        (b"[]", "did not send a JSON object"),
        (b"{}", "sent no usable token"),
        (b'{"token":7}', "sent no usable token"),
        (b'{"token":"a\\nb"}', "sent no usable token"),
    ],
)
def test_an_invalid_response_of_the_token_service_is_an_error(home, body, why):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        registry.fail(200, path="/token", body=body)
        with pytest.raises(RegistryError, match=why):
            client.start_upload("app")


@pytest.mark.parametrize("body", [b'{"access_token":"t"}', b'{"token":"t","expires_in":null}', b'{"token":"t"}'])
def test_a_token_may_have_either_name_and_no_expiry(home, body):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        registry.tokens["t"] = Token(frozenset({("app", "pull"), ("app", "push")}), float("inf"), True, [])
        registry.fail(200, path="/token", body=body)
        _push(client)
        assert len(_tokens(registry)) == 1


def test_a_request_to_the_token_service_is_retried(home, waits):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        registry.fail(503, path="/token")
        _push(client)
        assert [r.status for r in _tokens(registry)] == [503, 200]


def test_a_secret_that_the_token_service_repeats_is_hidden(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host, "x", "", identitytoken="very-secret-token")
        registry.fail(400, path="/token", body=b'{"details":"bad refresh_token very-secret-token"}', times=2)
        with pytest.raises(RegistryError, match=r"bad refresh_token \*\*\*") as caught:
            client.start_upload("app")
        assert caught.value.hint == f"docker login {registry.host}"


@pytest.mark.parametrize("status", [400, 401, 404, 405])
def test_an_identity_token_is_sent_as_a_password_where_post_is_refused(home, status):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host, "x", "", identitytoken="identity-of-tester")
        registry.fail(status, method="POST", path="/token")
        _push(client)
        assert [(r.method, r.status) for r in _tokens(registry)] == [("POST", status), ("GET", 200)]


def test_a_fresh_token_that_is_refused_once_is_replaced(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        challenge = f'Bearer realm="http://{registry.host}/token",service="fake",error="invalid_token"'
        for _ in range(2):
            _challenge(registry, challenge, method="POST", path="/v2/")
        _push(client)
        assert len(_tokens(registry)) == 2


def test_a_token_with_too_small_a_scope_is_not_replaced(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host)
        challenge = f'Bearer realm="http://{registry.host}/token",service="fake",error="insufficient_scope"'
        for _ in range(3):
            _challenge(registry, challenge, method="POST", path="/v2/")
        with pytest.raises(AuthenticationFailed):
            _push(client)
        assert len(_tokens(registry)) == 1


def test_a_stored_token_with_a_newline_is_an_error_that_does_not_show_it(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        write_docker_config(home, {"auths": {registry.host: {"registrytoken": "sec\nret"}}})
        with pytest.raises(CredentialError, match="characters that cannot be sent") as caught:
            _push(client)
        assert "ret" not in str(caught.value).replace("registry", "").replace("stored", "")


def test_a_secret_that_a_token_service_repeats_as_it_was_sent_is_hidden(home):
    with FakeRegistry(auth="bearer") as registry, RegistryClient(registry.host) as client:
        docker_login(home, registry.host, "x", "", identitytoken="very/secret+token")
        registry.fail(400, path="/token", body=b"refresh_token=very%2Fsecret%2Btoken", times=2)
        with pytest.raises(RegistryError, match=r"refresh_token=\*\*\*"):
            client.start_upload("app")
