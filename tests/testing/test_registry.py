import email.utils
import http.client
import json

import pytest

from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Index, Manifest, parse
from topcoat.testing.registry import QUIRKS, FakeRegistry

_BLOB = b"some bytes"
_DIGEST = sha256_digest(_BLOB)


class _Response:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def code(self):
        return json.loads(self.body)["errors"][0]["code"]


def _ask(registry, method, path, body=None, *, host=None, **headers):
    connection = http.client.HTTPConnection(host or registry.host, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return _Response(connection.getresponse())
    finally:
        connection.close()


def _path(location):
    return location.partition("://")[2].partition("/")[2].join(["/", ""]) if "://" in location else location


def _session(registry, repository="app"):
    return _ask(registry, "POST", f"/v2/{repository}/blobs/uploads/").headers["Location"]


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


class TestContent:
    def test_the_version_endpoint_responds_and_other_paths_do_not_exist(self, fake):
        assert _ask(fake, "GET", "/v2/").status == 200
        assert _ask(fake, "GET", "/other").status == 404

    def test_an_image_can_be_read(self, fake):
        stored = fake.add_image("org/base", "1", layers=[_BLOB], config={"config": {"User": "me"}})
        response = _ask(fake, "GET", "/v2/org/base/manifests/1")
        manifest = parse(response.body, response.headers["Content-Type"])
        assert isinstance(manifest, Manifest)
        assert response.headers["Docker-Content-Digest"] == stored.digest == sha256_digest(response.body)
        assert _ask(fake, "GET", f"/v2/org/base/blobs/{manifest.layers[0].digest}").body == _BLOB
        config = json.loads(_ask(fake, "GET", f"/v2/org/base/blobs/{manifest.config.digest}").body)
        assert config["config"] == {"User": "me"}
        assert config["rootfs"]["diff_ids"] == [_DIGEST]
        assert fake.manifest("org/base", "1") == fake.manifest("org/base", stored.digest) == json.loads(response.body)

    def test_images_have_docker_or_oci_media_types(self, fake):
        assert fake.add_image("base", oci=True).media_type == OCI_MANIFEST
        assert "docker" in fake.add_image("base").media_type
        assert "docker" in fake.add_index("base", "1", [fake.add_image("base")], oci=False).media_type

    def test_an_index_can_be_read(self, fake):
        images = [fake.add_image("base", platform=name) for name in ("linux/amd64", "linux/arm/v7")]
        fake.add_index("base", "1", images)
        response = _ask(fake, "GET", "/v2/base/manifests/1")
        index = parse(response.body, response.headers["Content-Type"])
        assert isinstance(index, Index)
        assert [str(platform) for platform in index.platforms] == ["linux/amd64", "linux/arm/v7"]

    def test_head_responds_with_headers_only(self, fake):
        stored = fake.add_image("base", "1")
        response = _ask(fake, "HEAD", "/v2/base/manifests/1")
        assert (response.status, response.body, response.headers["Content-Length"]) == (200, b"", str(stored.size))

    def test_missing_content_gets_404(self, fake):
        fake.add_repository("base")
        assert _ask(fake, "GET", "/v2/base/manifests/1").code == "MANIFEST_UNKNOWN"
        assert _ask(fake, "GET", f"/v2/base/blobs/{_DIGEST}").code == "BLOB_UNKNOWN"
        assert _ask(fake, "GET", f"/v2/other/blobs/{_DIGEST}").code == "NAME_UNKNOWN"
        assert _ask(fake, "PUT", "/v2/base/blobs/uploads/none").code == "BLOB_UPLOAD_UNKNOWN"
        assert _ask(fake, "DELETE", f"/v2/base/blobs/{_DIGEST}").status == 405

    def test_a_blob_of_one_repository_is_missing_in_another(self, fake):
        fake.add_blob("base", _BLOB)
        fake.add_repository("app")
        assert _ask(fake, "HEAD", f"/v2/base/blobs/{_DIGEST}").status == 200
        assert _ask(fake, "HEAD", f"/v2/app/blobs/{_DIGEST}").status == 404

    def test_a_range_request_returns_part_of_the_blob(self, fake):
        fake.add_blob("base", _BLOB)
        response = _ask(fake, "GET", f"/v2/base/blobs/{_DIGEST}", Range="bytes=5-")
        assert (response.status, response.body, response.headers["Content-Range"]) == (206, b"bytes", "bytes 5-9/10")

    def test_a_blob_can_be_uploaded_whole(self, fake):
        location = _session(fake)
        assert _ask(fake, "PUT", f"{location}?digest={_DIGEST}", _BLOB).status == 201
        assert fake.blobs[_DIGEST] == _BLOB
        assert _ask(fake, "PUT", f"{location}?digest={_DIGEST}", _BLOB).code == "BLOB_UPLOAD_UNKNOWN"

    def test_a_blob_can_be_uploaded_in_chunks(self, fake):
        location = _session(fake)
        first = _ask(fake, "PATCH", location, _BLOB[:4], Content_Range="0-3")
        assert (first.status, first.headers["Range"]) == (202, "0-3")
        assert _ask(fake, "PATCH", location, _BLOB[4:], Content_Range="5-10").status == 416
        assert _ask(fake, "PATCH", location, _BLOB[4:], Content_Range="4-9").status == 202
        assert _ask(fake, "PUT", f"{location}?digest={_DIGEST}", b"").status == 201

    @pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "nonsense", ""])
    def test_a_wrong_digest_is_refused(self, fake, digest):
        assert _ask(fake, "PUT", f"{_session(fake)}?digest={digest}", _BLOB).code == "DIGEST_INVALID"
        assert fake.blobs == {}

    def test_an_upload_can_be_cancelled(self, fake):
        location = _session(fake)
        assert _ask(fake, "DELETE", location).status == 204
        assert _ask(fake, "DELETE", location).status == 404

    def test_a_mount_adds_an_existing_blob_to_the_repository(self, fake):
        fake.add_blob("base", _BLOB)
        assert _ask(fake, "POST", f"/v2/app/blobs/uploads/?mount={_DIGEST}&from=base").status == 201
        assert _ask(fake, "HEAD", f"/v2/app/blobs/{_DIGEST}").status == 200
        assert _ask(fake, "POST", f"/v2/app/blobs/uploads/?mount={_DIGEST}&from=other").status == 202
        assert _ask(fake, "POST", f"/v2/app/blobs/uploads/?mount={_DIGEST}").status == 202

    def test_a_manifest_needs_its_blobs(self, fake):
        document = json.dumps({"config": {"digest": _DIGEST}, "layers": []})
        response = _ask(fake, "PUT", "/v2/app/manifests/1", document, Content_Type=OCI_MANIFEST)
        assert response.code == "MANIFEST_BLOB_UNKNOWN"
        assert _DIGEST in response.body.decode()
        fake.add_blob("app", _BLOB)
        assert _ask(fake, "PUT", "/v2/app/manifests/1", document, Content_Type=OCI_MANIFEST).status == 201
        assert _ask(fake, "GET", "/v2/app/manifests/1").headers["Content-Type"] == OCI_MANIFEST

    def test_an_index_needs_its_manifests(self, fake):
        stored = fake.add_image("app")
        for digest, status in ((_DIGEST, 400), (stored.digest, 201)):
            document = json.dumps({"manifests": [{"digest": digest}]})
            assert _ask(fake, "PUT", "/v2/app/manifests/1", document).status == status

    def test_a_manifest_pushed_by_digest_must_match_it(self, fake):
        assert _ask(fake, "PUT", f"/v2/app/manifests/{_DIGEST}", b"{}").code == "DIGEST_INVALID"
        assert _ask(fake, "PUT", f"/v2/app/manifests/{sha256_digest(b'{}')}", b"{}").status == 201
        assert fake.repositories["app"].tags == {}

    def test_a_lost_blob_is_missing(self, fake):
        stored = fake.add_image("app", "1", layers=[_BLOB])
        fake.lose_blob(_DIGEST)
        assert _ask(fake, "HEAD", f"/v2/app/manifests/{stored.digest}").status == 200
        assert _ask(fake, "HEAD", f"/v2/app/blobs/{_DIGEST}").status == 404

    def test_requests_are_recorded(self, fake):
        _ask(fake, "PUT", f"{_session(fake)}?digest={_DIGEST}", _BLOB, X_Test="y")
        last = fake.requests[-1]
        assert (last.method, last.status, last.sent, last.host) == ("PUT", 201, len(_BLOB), fake.host)
        assert last.path.endswith(f"?digest={_DIGEST}")
        assert last.headers["x-test"] == "y"


class TestFaults:
    def test_the_next_matching_requests_fail(self, fake):
        fake.fail(503, times=2, method="GET", path="/base/", headers={"Retry-After": "3"}, body=b"later")
        assert _ask(fake, "HEAD", "/v2/base/manifests/1").status == 404
        assert _ask(fake, "GET", "/v2/").status == 200
        responses = [_ask(fake, "GET", "/v2/base/manifests/1") for _ in range(3)]
        assert [response.status for response in responses] == [503, 503, 404]
        assert (responses[0].headers["Retry-After"], responses[0].body) == ("3", b"later")

    def test_a_connection_is_cut_before_the_response(self, fake):
        fake.cut()
        with pytest.raises(ConnectionError):
            _ask(fake, "GET", "/v2/")
        assert [r.status for r in fake.requests] == [0]
        assert _ask(fake, "GET", "/v2/").status == 200

    def test_a_connection_is_cut_within_the_response(self, fake):
        fake.add_blob("base", _BLOB)
        fake.cut(after=4)
        with pytest.raises(http.client.IncompleteRead) as caught:
            _ask(fake, "GET", f"/v2/base/blobs/{_DIGEST}")
        assert caught.value.partial == _BLOB[:4]

    def test_a_body_over_the_limit_is_refused(self):
        with FakeRegistry(put_limit=5) as registry:
            location = _session(registry)
            assert _ask(registry, "PUT", f"{location}?digest={_DIGEST}", _BLOB).status == 413
            assert _ask(registry, "PATCH", location, _BLOB[:5]).status == 202

    def test_the_status_for_moving_a_tag_is_configurable(self):
        with FakeRegistry(quirks={"immutable-tags"}, immutable_status=412) as registry:
            statuses = [_ask(registry, "PUT", "/v2/app/manifests/1", body).status for body in (b"{}", b'{"a":1}')]
            assert statuses == [201, 412]

    def test_a_chunk_below_the_minimum_is_refused_when_another_follows(self):
        with FakeRegistry(minimum_chunk=4) as registry:
            response = _ask(registry, "POST", "/v2/app/blobs/uploads/")
            assert response.headers["OCI-Chunk-Min-Length"] == "4"
            location = response.headers["Location"]
            assert [_ask(registry, "PATCH", location, part).status for part in (b"1234", b"56", b"7")] == [
                202,
                202,
                416,
            ]


class TestLogin:
    def test_basic_authentication_accepts_the_user_only(self):
        with FakeRegistry(auth="basic") as registry:
            refused = _ask(registry, "GET", "/v2/")
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="fake registry"')
            assert _ask(registry, "GET", "/v2/", Authorization="Basic dGVzdGVyOnMzY3JldA==").status == 200
            assert _ask(registry, "GET", "/v2/", Authorization="Basic dGVzdGVyOngK").status == 401

    def test_bearer_authentication_accepts_tokens_of_the_token_service(self):
        with FakeRegistry(auth="bearer") as registry:
            registry.add_image("app", "1")
            refused = _ask(registry, "GET", "/v2/app/manifests/1")
            assert refused.headers["WWW-Authenticate"] == (
                f'Bearer realm="http://{registry.host}/token",service="fake",scope="repository:app:pull"'
            )
            path = "/token?service=fake&scope=repository:app:pull"
            response = _ask(registry, "GET", path, Authorization="Basic dGVzdGVyOnMzY3JldA==")
            bearer = f"Bearer {json.loads(response.body)['token']}"
            assert _ask(registry, "GET", "/v2/app/manifests/1", Authorization=bearer).status == 200
            assert _ask(registry, "POST", "/v2/app/blobs/uploads/", Authorization=bearer).status == 401
            assert _ask(registry, "GET", "/v2/other/manifests/1", Authorization=bearer).status == 401
            assert _ask(registry, "GET", path, Authorization="Basic dGVzdGVyOngK").status == 401

    def test_a_token_expires(self):
        with FakeRegistry(auth="bearer", token_seconds=0) as registry:
            response = _ask(registry, "GET", "/token?scope=repository:app:pull")
            bearer = f"Bearer {json.loads(response.body)['token']}"
            assert _ask(registry, "GET", "/v2/", Authorization=bearer).status == 401

    def test_a_token_has_a_maximum_number_of_requests(self):
        with FakeRegistry(auth="bearer", public=True, token_uses=2) as registry:
            response = _ask(registry, "GET", "/token?scope=repository:app:pull")
            bearer = f"Bearer {json.loads(response.body)['token']}"
            statuses = [_ask(registry, "GET", "/v2/app/manifests/1", Authorization=bearer).status for _ in range(3)]
            assert statuses == [404, 404, 401]

    def test_anonymous_tokens_allow_nothing_unless_the_registry_is_public(self):
        for public, status in ((False, 401), (True, 404)):
            with FakeRegistry(auth="bearer", public=public) as registry:
                response = _ask(registry, "GET", "/token?scope=repository:app:pull,push")
                bearer = f"Bearer {json.loads(response.body)['token']}"
                assert _ask(registry, "GET", "/v2/app/manifests/1", Authorization=bearer).status == status
                assert _ask(registry, "POST", "/v2/app/blobs/uploads/", Authorization=bearer).status == 401

    def test_a_refresh_token_is_exchanged(self):
        with FakeRegistry(auth="bearer") as registry:
            form = "grant_type=refresh_token&scope=repository:app:push&refresh_token="
            assert _ask(registry, "POST", "/token", f"{form}wrong").status == 401
            response = _ask(registry, "POST", "/token", f"{form}identity-of-tester")
            bearer = f"Bearer {json.loads(response.body)['token']}"
            assert _ask(registry, "POST", "/v2/app/blobs/uploads/", Authorization=bearer).status == 202

    def test_a_mount_needs_permission_to_pull_from_the_source(self):
        with FakeRegistry(auth="bearer") as registry:
            registry.add_blob("base", _BLOB)
            form = "refresh_token=identity-of-tester&scope=repository:app:push"
            for scopes, status in (("", 202), ("+repository:base:pull", 201)):
                token = json.loads(_ask(registry, "POST", "/token", form + scopes).body)["token"]
                path = f"/v2/app/blobs/uploads/?mount={_DIGEST}&from=base"
                assert _ask(registry, "POST", path, Authorization=f"Bearer {token}").status == status


def _absolute_location(registry):
    return _session(registry).startswith(f"http://{registry.host}/v2/app/blobs/uploads/")


def _access_token(registry):
    document = json.loads(_ask(registry, "GET", "/token?scope=repository:app:pull").body)
    return document.keys() == {"access_token"} and document["access_token"] in registry.tokens


def _anonymous_limit(registry):
    registry.add_image("app", "1")
    path = "/v2/app/manifests/1"
    statuses = [_ask(registry, method, path).status for method in ("HEAD", "GET")]
    return [*statuses, _ask(registry, "GET", path, Authorization="Basic eDp5").status] == [200, 429, 200]


def _accepts_broken(registry):
    document = json.dumps({"config": {"digest": _DIGEST}, "layers": []})
    return _ask(registry, "PUT", "/v2/app/manifests/1", document).status == 201


def _closed_repositories(registry):
    before = _ask(registry, "POST", "/v2/app/blobs/uploads/")
    registry.add_repository("app")
    return before.status == 404 and _ask(registry, "POST", "/v2/app/blobs/uploads/").status == 202


def _denied_for_missing(registry):
    registry.add_repository("app")
    paths = ("/v2/app/manifests/1", f"/v2/app/blobs/{_DIGEST}", "/v2/other/manifests/1", f"/v2/other/blobs/{_DIGEST}")
    return {_ask(registry, "GET", path).status for path in paths} == {403}


def _first_scope_only(registry):
    form = "refresh_token=identity-of-tester&scope=repository:a:pull+repository:b:pull"
    token = json.loads(_ask(registry, "POST", "/token", form).body)["token"]
    return registry.tokens[token].scopes == {("a", "pull")}


def _forbidden_for_missing(registry):
    statuses = [_ask(registry, method, "/v2/app/manifests/1").status for method in ("HEAD", "GET")]
    return statuses == [403, 404]


def _generic_types(registry):
    registry.add_image("app", "1")
    return _ask(registry, "GET", "/v2/app/manifests/1").headers["Content-Type"] == "application/json"


def _html_errors(registry):
    response = _ask(registry, "GET", "/v2/app/manifests/1")
    return (
        response.status == 404
        and response.body.startswith(b"<html>")
        and response.headers["Content-Type"] == "text/html"
    )


def _immutable_tags(registry):
    codes = [_ask(registry, "PUT", "/v2/app/manifests/1", body).status for body in (b"{}", b"{}", b'{"a":1}')]
    return codes == [201, 201, 409]


def _location_outside(registry):
    location = _session(registry)
    done = _ask(registry, "PUT", f"{location}?digest={_DIGEST}", _BLOB)
    return (location.startswith("/v2/"), done.status) == (False, 201)


def _lost_port_location(registry):
    return _session(registry).startswith("http://127.0.0.1/v2/app/blobs/uploads/")


def _mount(registry):
    registry.add_blob("base", _BLOB)
    return _ask(registry, "POST", f"/v2/app/blobs/uploads/?mount={_DIGEST}&from=base").status


def _mount_denied(registry):
    return _mount(registry) == 403


def _mount_not_found(registry):
    return _mount(registry) == 404


def _mount_refused(registry):
    return _mount(registry) == 405


def _no_cancel(registry):
    return _ask(registry, "DELETE", _session(registry)).status == 405


def _no_chunks(registry):
    return _ask(registry, "PATCH", _session(registry), _BLOB).status == 405


def _no_digest_header(registry):
    registry.add_image("app", "1")
    return "Docker-Content-Digest" not in _ask(registry, "GET", "/v2/app/manifests/1").headers


def _no_head(registry):
    registry.add_image("app", "1")
    return _ask(registry, "HEAD", "/v2/app/manifests/1").status == 405


def _put_manifest(registry, document, kind):
    return _ask(registry, "PUT", "/v2/app/manifests/1", json.dumps(document), Content_Type=kind).status


def _no_index(registry):
    index = {"manifests": [registry.add_image("app").to_json()]}
    return [_put_manifest(registry, document, OCI_INDEX) for document in (index, {})] == [400, 201]


def _no_length_header(registry):
    registry.add_image("app", "1")
    return "Content-Length" not in _ask(registry, "HEAD", "/v2/app/manifests/1").headers


def _no_mount(registry):
    return _mount(registry) == 202


def _no_oci(registry):
    return [_put_manifest(registry, {}, kind) for kind in (OCI_MANIFEST, DOCKER_MANIFEST)] == [400, 201]


def _no_oauth(registry):
    return _ask(registry, "POST", "/token", "refresh_token=identity-of-tester").status == 404


def _no_ranges(registry):
    registry.add_blob("app", _BLOB)
    response = _ask(registry, "GET", f"/v2/app/blobs/{_DIGEST}", Range="bytes=5-")
    return (response.status, response.body) == (200, _BLOB)


def _no_whole_put(registry):
    whole = _ask(registry, "PUT", f"{_session(registry)}?digest={_DIGEST}", _BLOB)
    location = _session(registry)
    _ask(registry, "PATCH", location, _BLOB)
    return (whole.status, _ask(registry, "PUT", f"{location}?digest={_DIGEST}", b"").status) == (400, 201)


def _other_success(registry):
    blob = _ask(registry, "PUT", f"{_session(registry)}?digest={_DIGEST}", _BLOB)
    return (blob.status, _put_manifest(registry, {}, OCI_MANIFEST)) == (200, 200)


def _quota_exceeded(registry):
    response = _ask(registry, "PUT", f"{_session(registry)}?digest={_DIGEST}", _BLOB)
    return response.status == 403 and b"quota" in response.body


def _limited(registry):
    responses = [_ask(registry, method, "/v2/") for method in ("GET", "HEAD", "GET")]
    return [response.status for response in responses[:2]] == [429, 429] and responses[2].status == 200 and responses[0]


def _rate_limit(registry):
    response = _limited(registry)
    return response and response.headers["Retry-After"] == "0"


def _rate_limit_date(registry):
    response = _limited(registry)
    return response and email.utils.parsedate_to_datetime(response.headers["Retry-After"]).timestamp() > 0


def _read_only(registry):
    return _ask(registry, "POST", "/v2/app/blobs/uploads/").status == 405


def _redirect_manifests(registry):
    path, stored = "/v2/app/manifests/1", registry.add_image("app", "1")
    location = _ask(registry, "HEAD", path).headers["Location"]
    response = _ask(registry, "GET", path, host=registry.storage_host)
    return location == f"http://{registry.storage_host}{path}" and sha256_digest(response.body) == stored.digest


def _redirect_blobs(registry):
    registry.add_blob("app", _BLOB)
    path = f"/v2/app/blobs/{_DIGEST}"
    location = _ask(registry, "GET", path).headers["Location"]
    response = _ask(registry, "GET", path, host=registry.storage_host)
    refused = _ask(registry, "GET", path, host=registry.storage_host, Authorization="Basic eDp5")
    return location == f"http://{registry.storage_host}{path}" and (response.body, refused.status) == (_BLOB, 400)


def _state_in_location(registry):
    location = _session(registry)
    without = _ask(registry, "PATCH", location.partition("?")[0], _BLOB)
    moved = _ask(registry, "PATCH", location, _BLOB).headers["Location"]
    stale = _ask(registry, "PUT", f"{location}&digest={_DIGEST}")
    done = _ask(registry, "PUT", f"{moved}&digest={_DIGEST}")
    return (without.status, stale.status, done.status) == (400, 400, 201)


def _challenge(registry):
    registry.auth = "bearer"
    return _ask(registry, "GET", "/v2/app/manifests/1").headers["WWW-Authenticate"]


def _token_elsewhere(registry):
    response = _ask(registry, "GET", "/token", host=registry.storage_host)
    return f'realm="http://{registry.storage_host}/token"' in _challenge(registry) and response.status == 200


def _two_challenges(registry):
    return _challenge(registry).startswith('Basic realm="fake registry", Bearer realm="')


def _unauthorized_for_missing(registry):
    registry.auth = "bearer"
    registry.add_repository("there")
    collected = []
    for name, actions in (("there", "pull"), ("app", "pull"), ("app", "pull,push")):
        form = f"refresh_token=identity-of-tester&scope=repository:{name}:{actions}"
        bearer = f"Bearer {json.loads(_ask(registry, 'POST', '/token', form).body)['token']}"
        collected.append(_ask(registry, "GET", f"/v2/{name}/manifests/1", Authorization=bearer).status)
    return collected == [404, 401, 404]


def _upload_elsewhere(registry):
    location = _session(registry)
    path = f"{_path(location)}?digest={_DIGEST}"
    refused = _ask(registry, "PUT", path, _BLOB, host=registry.storage_host, Authorization="Basic eDp5")
    done = _ask(registry, "PUT", path, _BLOB, host=registry.storage_host)
    return registry.storage_host in location and (refused.status, done.status) == (400, 201)


_SHOWS = {
    name.removeprefix("_").replace("_", "-"): function
    for name, function in globals().items()
    if name.removeprefix("_").replace("_", "-") in QUIRKS
}


def test_every_quirk_has_a_test():
    assert _SHOWS.keys() == QUIRKS.keys()


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_quirk_changes_the_behaviour_of_the_registry(quirk):
    with FakeRegistry(quirks={quirk}) as registry:
        assert _SHOWS[quirk](registry)
    with FakeRegistry() as registry:
        assert not _SHOWS[quirk](registry)


def test_unknown_quirks_and_authentication_methods_are_refused():
    with pytest.raises(ValueError, match="invalid quirk no-mounts: choose from absolute-location, "):
        FakeRegistry(quirks={"no-mounts"})
    with pytest.raises(ValueError, match="'digest'"):
        FakeRegistry(auth="digest")


def test_the_registry_stops_at_the_end_of_the_with_block():
    with FakeRegistry() as registry:
        connection = http.client.HTTPConnection(registry.host, timeout=60)
        connection.request("GET", "/v2/")
        connection.getresponse().read()
    assert connection.sock.recv(1) == b""
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        _ask(registry, "GET", "/v2/")
