"""Engines that topcoat has pull, push and build get the login that topcoat itself uses, for that registry alone."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.components.images import Image
from tests.components.registries import Registry
from tests.support.certificates import make_certificates
from tests.support.http_servers import ok, read_request, scripted_server
from tests.support.places import Place, response
from topcoat.bases.base import Base
from topcoat.builders.builder import Recipe
from topcoat.builders.engine_builder import ClassicBuilder
from topcoat.destinations.engine import pull_base, push_image
from topcoat.engines.engine import connect
from topcoat.engines.logins import auth_config, build_logins
from topcoat.errors import CredentialError, RegistryError
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_CONFIG, OCI_MANIFEST, Manifest
from topcoat.registry.clients import Clients
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.schedulers.docker.containers import fetch
from topcoat.specs import Workspace

_ME = {"username": "me", "password": "pw"}


def _auths(**passwords: str) -> dict[str, object]:
    entries = {host: base64.b64encode(f"me:{password}".encode()).decode() for host, password in passwords.items()}
    return {"auths": {host.replace("_", "."): {"auth": auth} for host, auth in entries.items()}}


def _docker_config(home: Path, document: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / ".docker" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))


def _docker_variable(home: Path, document: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(document))


def _podman_file(home: Path, document: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / ".config" / "containers" / "auth.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))


@contextlib.contextmanager
def _engine() -> Iterator[tuple[docker.DockerClient, list[bytes]]]:
    """Give a client of an engine that lacks q.io/app until it is pulled, and the heads of all POST requests."""
    heads: list[bytes] = []

    def serve(connection: Any) -> None:
        while head := read_request(connection)[0]:
            if head.startswith(b"POST"):
                heads.append(head)
            elif b"/images/q.io/app" in head and not any(b"fromImage=q.io%2Fapp" in sent for sent in heads):
                body = b'{"message": "No such image"}'
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                continue
            connection.sendall(ok(b'{"Id": "sha256:x"}', "Content-Type: application/json"))

    with scripted_server(serve) as host:
        client = docker.DockerClient(base_url=f"tcp://{host}", version="1.41")
        try:
            yield client, heads
        finally:
            client.close()


def _sent(head: bytes, name: str) -> Any:
    """Return the decoded value of a header, None if it was not sent."""
    for line in head.decode().split("\r\n"):
        key, _, value = line.partition(": ")
        if key == name:
            return json.loads(base64.urlsafe_b64decode(value))
    return None


@pytest.mark.parametrize("store", [_docker_config, _docker_variable, _podman_file])
def test_pull_push_and_build_send_the_login_of_their_registry_from_every_store(
    store: Callable[..., None], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(home, _auths(q_io="pw", other_io="secret"), monkeypatch)
    images = ("q.io/base:1", "public.io/tool:1", f"sha256:{'a' * 64}", "b" * 64)
    recipe = Recipe(
        scan(Workspace({str(tmp_path): ""}), ScanOptions(IMAGE_IGNORE_FILES)), "Dockerfile", b"FROM x", {}, "", images
    )
    manifest = Manifest(OCI_MANIFEST, Descriptor(OCI_CONFIG, sha256_digest(b""), 0), ())
    base = Base("q.io/base", sha256_digest(b"1"), manifest, ImageConfig({"rootfs": {"diff_ids": []}}))
    with _engine() as (client, heads):
        pull_base(client, base)
        fetch(client, "q.io/app:1")
        push_image(client, "q.io/base:1", "q.io/app", "1")
        assert ClassicBuilder(client, Clients()).build(recipe, "topcoat:1", print) == ""
    login = {**_ME, "serveraddress": "q.io"}
    actions = [head.split()[1].partition(b"?")[0].rpartition(b"/")[2].decode() for head in heads]
    assert actions == ["create", "tag", "create", "tag", "push", "build"]
    assert [_sent(head, "X-Registry-Auth") for head in heads] == [login, None, login, None, login, None]
    assert _sent(heads[5], "X-Registry-Config") == {"q.io": login}


def test_a_registry_without_a_login_is_sent_no_login_of_another(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _docker_config(home, _auths(q_io="pw"), monkeypatch)
    with _engine() as (client, heads):
        list(client.api.pull("other.io/app", tag="1", stream=True, auth_config=auth_config("other.io/app:1")))
        with build_logins(client, ["other.io/base:1"]):
            list(client.api.build(fileobj=io.BytesIO(b"tar"), custom_context=True))
    assert _sent(heads[0], "X-Registry-Auth") == {}
    assert _sent(heads[1], "X-Registry-Config") is None


def test_a_build_from_unknown_images_sends_the_logins_of_docker_py(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _docker_config(home, _auths(q_io="pw"), monkeypatch)
    with _engine() as (client, heads):
        with build_logins(client, ()):
            list(client.api.build(fileobj=io.BytesIO(b"tar"), custom_context=True))
        with build_logins(client, ["other.io/base:1"]):
            list(client.api.build(fileobj=io.BytesIO(b"tar"), custom_context=True))
        list(client.api.build(fileobj=io.BytesIO(b"tar"), custom_context=True))
    assert [bool(_sent(head, "X-Registry-Config")) for head in heads] == [True, False, True]


def test_the_login_of_docker_hub_has_the_address_that_docker_gives_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _podman_file(home, _auths(docker_io="pw"), monkeypatch)
    assert auth_config("busybox") == {**_ME, "serveraddress": "https://index.docker.io/v1/"}


def test_an_identity_token_is_passed_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _docker_variable(home, {"auths": {"q.io": {"identitytoken": "refresh"}}}, monkeypatch)
    assert auth_config("q.io/app") == {"identitytoken": "refresh", "serveraddress": "q.io"}


def test_a_malformed_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "{")
    with pytest.raises(CredentialError, match="DOCKER_AUTH_CONFIG is not valid JSON"):
        auth_config("q.io/app")


@pytest.mark.parametrize("engine", ["docker20", "docker_today"])
def test_a_real_engine_builds_from_pushes_to_and_pulls_from_a_private_registry_with_podmans_login(
    request: pytest.FixtureRequest,
    engine: str,
    tls_registry: Registry,
    busybox_image: Image,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request.getfixturevalue(engine).use(monkeypatch)
    monkeypatch.setenv("DOCKER_CONFIG", str(home / ".docker"))
    auth = base64.b64encode(f"{tls_registry.username}:{tls_registry.password}".encode()).decode()
    _podman_file(home, {"auths": {tls_registry.host: {"auth": auth}}}, monkeypatch)
    base = busybox_image.push(tls_registry, tls_registry.unique("base"), "1").reference
    scanned = scan(Workspace({str(tmp_path): ""}), ScanOptions(IMAGE_IGNORE_FILES))
    recipe = Recipe(scanned, "Dockerfile.torchx", f"FROM {base}\nRUN true\n".encode(), {}, "", (base,))
    repository = f"{tls_registry.host}/{tls_registry.unique('app')}"
    with contextlib.closing(connect()) as client:
        assert ClassicBuilder(client, Clients()).build(recipe, "topcoat:login", print) == ""
        push_image(client, "topcoat:login", repository, "1")
        for name in ("topcoat:login", f"{repository}:1"):
            client.images.remove(name)
        fetch(client, f"{repository}:1")
        assert client.images.get(f"{repository}:1")


@pytest.mark.parametrize(("address", "given"), [("127.0.0.2", False), ("127.0.0.1", True)])
def test_an_engine_gets_no_login_for_a_plain_registry_that_names_a_token_service_on_another_host(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, given: bool
) -> None:
    with Place("127.0.0.1", make_certificates(tmp_path).tls) as registry:
        registry.respond = lambda seen: response(401, WWW_Authenticate=f'Bearer realm="http://{address}:9/token"')
        login = base64.b64encode(b"me:pw").decode()
        _docker_config(home, {"auths": {registry.host: {"auth": login}}}, monkeypatch)
        if given:
            assert auth_config(f"{registry.host}/app")["password"] == "pw"
        else:
            with pytest.raises(RegistryError, match="on another host: the login is not sent there"):
                auth_config(f"{registry.host}/app")
        assert login not in registry.received()
