"""Whatever a registry sends, the result is a value or an error of ours, and the error can be shown on a terminal."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.places import Place, response
from topcoat.errors import TopcoatError
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient
from topcoat.registry.resolve import resolve
from topcoat.registry.upload import upload_blob

from .conftest import docker_login

_BLOB = b"blob" * 100
_DIGEST = sha256_digest(_BLOB)
_DESCRIPTOR = Descriptor("", _DIGEST, len(_BLOB))
_NUMBERS = ["²", "٣", "9" * 30, "-1", "1e9", "0x10", " 5", "5, 5", "5, 6", ""]
_LOCATIONS = [
    *("/x", "x?\x1b[2J", "http://[::1", "//", "http://127.0.0.1:99999/", "http://127.0.0.1:²/", "https://" + "a" * 64),
    *("http://me:pw@127.0.0.1/", "http://xn--a/", "ftp://x/", "http://a..b/", "?" + "x" * 20000, "http://\xfc\xfc/"),
    "/" + "a" * 70000,
]
_CHALLENGES = [
    *(
        "Basic",
        "Bearer",
        "Bearer realm=",
        'Bearer realm="http://["',
        "Negotiate \x1b[2J",
        '"',
        "Bearer " + "a=b," * 3000,
    ),
    *('Bearer realm="/token"', 'Bearer realm="http://{host}/token",scope="\x1b \xff"', 'Bearer realm="http://a..b/"'),
    'Bearer realm="http://{host}/token",service="\xfc"',
]
_BODIES = [
    *("", "[" * 50_000, '{"a":' * 3000, "[]", "{}", "null", "1" * 5000, '{"errors":[1]}', '{"errors":{"a":1}}'),
    *('{"errors":[{"code":{},"message":"\x1b[2J\\u202e"}]}', '{"token":"a\\nb"}', '{"token":"t","expires_in":1e999}'),
    *('{"token":"t","expires_in":' + "9" * 400 + "}", '{"token":"t","expires_in":NaN}', '{"token":"t"}', '{"token":7}'),
    *(
        '{"schemaVersion":2,"mediaType":"\x1b","layers":7}',
        "\xff\xfe",
        "<html>",
        '{"manifests":[{"digest":"\\ud800"}]}',
    ),
    json.dumps(
        {"schemaVersion": 2, "config": {"digest": _DIGEST, "size": 10**19, "mediaType": "\x1b[2J"}, "layers": []}
    ),
]
_STATUSES = [200, 201, 202, 206, 301, 307, 400, 401, 403, 404, 406, 410, 413, 416, 429, 500, 501]


@st.composite
def _responses(draw):
    headers = {}
    for name, values in (
        ("Location", _LOCATIONS),
        ("WWW_Authenticate", _CHALLENGES),
        ("Retry_After", [*_NUMBERS, "Mon, 01 Jan 0001 00:00:00 GMT", "Mon, 99 Foo"]),
        ("OCI_Chunk_Min_Length", [*_NUMBERS, "9" * 18]),
        ("Content_Range", ["bytes ²-3/9", "bytes 0-9/10", "bytes 99999999999999999999-1/2"]),
        ("Docker_Content_Digest", [_DIGEST, "sha256:\x1b", "\xff"]),
        ("Content_Type", ["application/json", "\x1b[2J", "a" * 9000, "application/vnd.oci.image.index.v1+json"]),
    ):
        if draw(st.booleans()):
            headers[name] = draw(st.sampled_from(values))
    return draw(st.sampled_from(_STATUSES)), draw(st.sampled_from(_BODIES)), headers


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    from tests.support.certificates import make_certificates

    with Place("127.0.0.1", make_certificates(tmp_path_factory.mktemp("certificates")).tls) as place:
        yield place


_ACTS = {
    "head": lambda client: client.head_manifest("app", "1"),
    "get": lambda client: client.get_manifest("app", "1"),
    "resolve": lambda client: resolve(client, Reference("x", "app", "1"), None),
    "blob": lambda client: client.get_blob("app", _DESCRIPTOR),
    "has": lambda client: client.has_blob("app", _DESCRIPTOR),
    "mount": lambda client: client.mount("app", _DESCRIPTOR, "base"),
    "upload": lambda client: upload_blob(client, "app", io.BytesIO(_BLOB), _DESCRIPTOR),
    "manifest": lambda client: client.put_manifest("app", "1", b"{}", "a/b"),
}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(_responses(), min_size=1, max_size=6), st.sampled_from(sorted(_ACTS)), st.booleans())
@example([(413, "", {}), (202, "", {"Location": "/x", "OCI_Chunk_Min_Length": "9" * 18})], "upload", False)
@example([(200, "", {"Docker_Content_Digest": _DIGEST, "Content_Length": "²", "Content_Type": "a/b"})], "head", False)
@example(
    [(401, "", {"WWW_Authenticate": 'Bearer realm="http://{host}/token"'}), (200, _BODIES[12], {}), (404, "", {})],
    "head",
    True,
)
@example([(429, "", {"Retry_After": "²"})] * 5, "get", False)
def test_any_response_gives_a_value_or_an_error_that_can_be_shown(home, place, responses, act, has_login):
    left = list(responses)

    def respond(seen):
        status, body, headers = left.pop(0) if len(left) > 1 else left[0]
        headers = {name: value.replace("{host}", place.host) for name, value in headers.items()}
        return response(status, body, **headers)

    place.respond = respond
    if has_login:
        docker_login(home, place.host, "me", "p4ssw0rd-secret")
    with RegistryClient(place.host) as client:
        try:
            _ACTS[act](client)
        except TopcoatError as error:
            shown = f"{error}\n{error.hint or ''}\n{getattr(error, 'request', '')}"
        else:
            return
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "p4ssw0rd-secret" not in shown
