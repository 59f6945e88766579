"""Logins and repositories of Amazon ECR: the real boto3, an API of AWS on loopback, and a registry behind a proxy."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.aws import Failure, ScriptedAws, scripted_aws
from tests.support.certificates import make_certificates
from tests.support.notices import recorded_notices
from topcoat.errors import CredentialError, DaemonError, RegistryError, TopcoatError, WorkspaceError
from topcoat.images.options import image_options
from topcoat.oci.reference import Reference
from topcoat.pipeline import build_image
from topcoat.registry import ecr
from topcoat.registry.credentials import Keyring
from topcoat.registry.login_files import Credential
from topcoat.specs import Workspace
from topcoat.testing.registry import FakeRegistry

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def token(password: str, seconds: float = 3600) -> dict[str, object]:
    text = base64.b64encode(f"AWS:{password}".encode()).decode()
    return {"authorizationData": [{"authorizationToken": text, "expiresAt": time.time() + seconds}]}


@pytest.fixture(autouse=True)
def _no_login_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecr, "_logins", {})


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedAws]:
    with scripted_aws(monkeypatch) as script:
        yield script


@pytest.mark.parametrize(
    "host",
    [
        HOST,
        "123456789012.dkr-ecr.eu-west-1.on.aws",
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "public.ecr.aws",
    ],
)
def test_a_host_of_ecr_gets_its_login_from_aws_once(host: str, aws: ScriptedAws) -> None:
    data = token("p1")
    if host == ecr.PUBLIC_HOST:
        data["authorizationData"] = data["authorizationData"][0]  # type: ignore[index]
    aws.says("getauthorizationtoken", data)
    assert Keyring().get(host, "team/app") == Credential("AWS", "p1")
    assert Keyring().get(host, "team/other") == Credential("AWS", "p1")
    assert len(aws.asked("getauthorizationtoken")) == 1


@pytest.mark.parametrize(
    "host",
    [
        f"{HOST}.evil.example",
        f"evil.example.{HOST}",
        f"x{HOST}",
        f"{HOST}:444",
        "12345.dkr.ecr.eu-west-1.amazonaws.com",
        "registry.example.com",
        "ecr.example.com",
    ],
)
def test_no_other_host_gets_a_login_from_aws(host: str, aws: ScriptedAws) -> None:
    aws.says("getauthorizationtoken", token("p1"))
    assert Keyring().get(host) is None
    assert aws.requests == []


def stored(password: str) -> str:
    auth = base64.b64encode(f"AWS:{password}".encode()).decode()
    return json.dumps({"auths": {HOST: {"auth": auth}}})


def ecr_password(expiration: float) -> str:
    return base64.b64encode(json.dumps({"payload": "x", "expiration": int(expiration)}).encode()).decode()


def test_a_stored_login_wins_until_it_expires(aws: ScriptedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.says("getauthorizationtoken", token("fresh"))
    for password, expected in (
        ("another", "another"),
        (valid := ecr_password(time.time() + 600), valid),
        (ecr_password(time.time() - 600), "fresh"),
    ):
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", stored(password))
        assert Keyring().get(HOST) == Credential("AWS", expected)


def test_a_login_is_renewed_before_it_expires(aws: ScriptedAws) -> None:
    aws.says("getauthorizationtoken", token("p1", 60), token("p2"))
    assert Keyring().get(HOST) == Credential("AWS", "p1")
    assert Keyring().get(HOST) == Credential("AWS", "p2")


def test_without_aws_credentials_a_private_registry_is_an_error_and_the_public_one_is_anonymous(
    aws: ScriptedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(
        CredentialError, match=f"getting a login of {HOST} from AWS: no AWS credentials found"
    ) as caught:
        Keyring().get(HOST)
    assert "aws sso login" in str(caught.value.hint)
    assert Keyring().get("public.ecr.aws") is None


def test_an_expired_session_is_one_clear_error(aws: ScriptedAws) -> None:
    aws.says("getauthorizationtoken", Failure("ExpiredTokenException", "The security token included is expired"))
    with pytest.raises(CredentialError, match="the AWS login is missing or has expired"):
        Keyring().get(HOST)


@pytest.mark.parametrize("data", [[], [{}], [{"authorizationToken": "%%"}], [{"authorizationToken": "QVdTOnA="}]])
def test_a_login_that_cannot_be_read_is_one_clear_error(data: object, aws: ScriptedAws) -> None:
    aws.says("getauthorizationtoken", {"authorizationData": data})
    with pytest.raises(CredentialError, match="AWS sent a login that cannot be read"):
        Keyring().get(HOST)


def test_without_boto3_a_notice_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "boto3", None)
    with recorded_notices() as notices:
        assert Keyring().get(HOST) is None
    assert notices == [f"a login of {HOST} from AWS needs boto3: pip install 'topcoat[aws]'"]


class ConnectProxy:
    """An HTTP proxy that leads every CONNECT to one server."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        host, _, port = self._target.rpartition(":")
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        threads = [
            threading.Thread(target=_pump, args=pair, daemon=True) for pair in ((client, server), (server, client))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        server.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def ecr_registry(aws: ScriptedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """A registry under a host name of ECR: basic auth, no repository that was not created, immutable tags."""
    certificates = make_certificates(tmp_path, HOST)
    aws.says("getauthorizationtoken", token("from-aws"))
    registry = FakeRegistry(
        quirks={"closed-repositories", "immutable-tags"},
        auth="basic",
        username="AWS",
        password="from-aws",
        tls=certificates.tls,
    )
    with registry:
        proxy = ConnectProxy(registry.host)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
        registry.add_image("base", "1")
        yield registry
        proxy.close()


def build(tmp_path: Path, **cfg: object) -> str:
    """Build as ``topcoat build`` does."""
    workspace = tmp_path / "ws"
    workspace.mkdir(exist_ok=True)
    (workspace / "train.py").write_text("print()\n")
    options = image_options({"image_repo": f"{HOST}/team/app", **cfg})  # type: ignore[dict-item]
    return build_image(Workspace({str(workspace): ""}), f"{HOST}/base:1", options).reference


def test_a_missing_repository_is_an_error_unless_it_may_be_created(
    ecr_registry: FakeRegistry, aws: ScriptedAws, tmp_path: Path
) -> None:
    def create(body: dict[str, object]) -> dict[str, object]:
        ecr_registry.add_repository(str(body["repositoryName"]))
        return {"repository": {"repositoryName": body["repositoryName"]}}

    aws.says("createrepository", create)
    with pytest.raises(RegistryError) as caught:
        build(tmp_path)
    assert caught.value.registry_code == "NAME_UNKNOWN", caught.value
    assert "create_repository" in str(caught.value.hint)
    assert aws.asked("createrepository") == []
    with recorded_notices() as notices:
        reference = build(tmp_path, create_repository=True)
    assert reference.startswith(f"{HOST}/team/app:")
    assert aws.asked("createrepository") == [{"registryId": "123456789012", "repositoryName": "team/app"}]
    assert f"created the repository {HOST}/team/app" in notices
    # Once it exists, AWS is not asked, and an immutable tag is not pushed again.
    ecr_registry.requests.clear()
    assert build(tmp_path, create_repository=True) == reference
    assert {request.method for request in ecr_registry.requests} == {"HEAD"}
    assert len(aws.asked("createrepository")) == 1
    # Neither is one that is asked for again: the registry refuses it, and the image is the same.
    assert build(tmp_path, create_repository=True, rebuild=True) == reference


MISSING = RegistryError("x", registry_code="NAME_UNKNOWN")
TARGET = Reference.parse(f"{HOST}/app")


def test_a_repository_that_somebody_else_has_created_meanwhile_is_used(aws: ScriptedAws) -> None:
    aws.says("createrepository", Failure("RepositoryAlreadyExistsException"))
    ecr.create_repository(TARGET, MISSING)
    assert len(aws.asked("createrepository")) == 1


def test_a_repository_is_created_when_an_engine_reports_it_missing_in_words(aws: ScriptedAws) -> None:
    aws.says("createrepository", {"repository": {}})
    error = DaemonError("pushing: name unknown: The repository with name 'app' does not exist in the registry")
    ecr.create_repository(TARGET, error)
    assert len(aws.asked("createrepository")) == 1


def test_the_error_of_a_repository_that_may_not_be_created_names_the_permission(aws: ScriptedAws) -> None:
    aws.says("createrepository", Failure("AccessDeniedException", "not authorized to perform: ecr:CreateRepository"))
    with pytest.raises(RegistryError, match=f"creating the repository {HOST}/app: access denied: not authorized to"):
        ecr.create_repository(TARGET, MISSING)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (Reference.parse("registry.example.com/app"), MISSING),
        (TARGET, RegistryError("denied", registry_code="DENIED")),
        (TARGET, WorkspaceError("gone")),
    ],
)
def test_no_other_registry_and_no_other_error_gets_a_repository_created(
    target: Reference, error: TopcoatError, aws: ScriptedAws
) -> None:
    with pytest.raises(type(error)) as caught:
        ecr.create_repository(target, error)
    assert caught.value is error
    assert aws.requests == []
