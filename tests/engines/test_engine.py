"""Connecting to an engine, and the errors if that fails."""

from __future__ import annotations

import gc
import json
import ssl
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.components.daemons import Docker
from tests.components.host import Tool
from tests.support.certificates import Certificates, make_certificates
from tests.support.refusing import refusing
from topcoat.engines.engine import connect, engine_errors
from topcoat.errors import DaemonError, DaemonUnavailable, MissingDependency


def _server() -> str:
    client = connect()
    try:
        return str(client.info()["DockerRootDir"])
    finally:
        client.close()


def test_docker_host_names_the_engine(docker20: Docker, docker_today: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    collected = []
    for engine in (docker20, docker_today):
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        collected.append(_server())
    assert collected[0] != collected[1]


def test_the_current_docker_context_names_the_engine(
    docker20: Docker, docker_today: Docker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"HOME": str(home), "DOCKER_CONFIG": str(home / ".docker"), "PATH": docker_today.env["PATH"]}
    command_line = Tool(docker_today.cli.command[0], config)
    for engine in (docker20, docker_today):
        command_line("context", "create", engine.name, "--docker", f"host={engine.host}")
    roots = {}
    for engine in (docker20, docker_today):
        command_line("context", "use", engine.name)
        roots[engine.name] = _server()
    assert len(set(roots.values())) == 2

    monkeypatch.setenv("DOCKER_CONTEXT", "docker20")
    assert _server() == roots["docker20"]
    monkeypatch.setenv("DOCKER_HOST", docker_today.host)
    assert _server() == roots["docker_today"]


def test_an_unknown_context_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "absent")
    with pytest.raises(DaemonUnavailable, match="absent") as raised:
        connect()
    assert raised.value.hint


# The docker package does not close a unix socket that it cannot connect.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_missing_socket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(DaemonUnavailable, match=rf"at unix://{tmp_path}/none\.sock: socket not found") as raised:
        connect()
    assert "DOCKER_HOST" in (raised.value.hint or "")
    del raised
    gc.collect()


def test_a_refused_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(DaemonUnavailable, match=r"tcp://127\.0\.0\.1:1: connection refused"):
        connect()


def test_an_invalid_docker_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense://x")
    with pytest.raises(DaemonUnavailable, match="nonsense://x"):
        connect()


# The docker package does not close a unix socket that it cannot connect.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_another_engine_on_this_machine_is_suggested_and_not_used(
    podman: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topcoat.engines.endpoint.DEFAULT_SOCKET", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr("docker.utils.utils.DEFAULT_UNIX_SOCKET", f"http+unix://{tmp_path}/none.sock")
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman/podman.sock").symlink_to(podman.host.removeprefix("unix://"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(DaemonUnavailable, match="socket not found") as raised:
        connect()
    assert raised.value.hint == f"export DOCKER_HOST=unix://{tmp_path}/podman/podman.sock"
    del raised
    gc.collect()


class TestApiVersion:
    """The version of the API that is used."""

    def test_it_is_the_version_of_the_engine(self, any_docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
        any_docker.use(monkeypatch)
        client = connect()
        assert client.api.api_version == client.version()["ApiVersion"]
        client.close()

    def test_it_is_the_requested_version(self, any_docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
        any_docker.use(monkeypatch)
        monkeypatch.setenv("DOCKER_API_VERSION", "1.41")
        client = connect()
        assert client.api.api_version == "1.41"
        assert client.images.list() is not None
        client.close()

    @pytest.mark.parametrize("version", ["1.99", "1.12", "nonsense"])
    def test_an_unsupported_version_is_refused(
        self, any_docker: Docker, monkeypatch: pytest.MonkeyPatch, version: str
    ) -> None:
        any_docker.use(monkeypatch)
        monkeypatch.setenv("DOCKER_API_VERSION", version)
        with pytest.raises(DaemonUnavailable, match=rf"1\.99|1\.24|{version}"):
            connect()


class TestTls:
    """Engines with TLS that require a client certificate."""

    @pytest.fixture
    def certificates(self, tmp_path: Path) -> Certificates:
        return make_certificates(tmp_path)

    @pytest.fixture
    def server(self, certificates: Certificates) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(certificates.server, certificates.key)
        return context

    @pytest.fixture
    def pems(self, certificates: Certificates, tmp_path: Path) -> Path:
        directory = tmp_path / "pems"
        directory.mkdir()
        for name, source in zip(("ca.pem", "cert.pem", "key.pem"), certificates, strict=True):
            (directory / name).write_bytes(Path(source).read_bytes())
        return directory

    def test_tls_settings_of_the_environment_are_used(
        self, docker_today: Docker, server: ssl.SSLContext, pems: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DOCKER_CERT_PATH", str(pems))
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        with refusing(docker_today, {}, server) as address:
            monkeypatch.setenv("DOCKER_HOST", address)
            assert "dts" in _server()

    def test_tls_settings_of_a_context_are_used(
        self, docker_today: Docker, server: ssl.SSLContext, pems: Path, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = {"HOME": str(home), "DOCKER_CONFIG": str(home / ".docker"), "PATH": docker_today.env["PATH"]}
        command_line = Tool(docker_today.cli.command[0], config)
        with refusing(docker_today, {}, server) as address:
            place = f"host={address},ca={pems}/ca.pem,cert={pems}/cert.pem,key={pems}/key.pem"
            command_line("context", "create", "secured", "--docker", place)
            command_line("context", "use", "secured")
            root = json.loads(command_line("info", "--format", "{{json .DockerRootDir}}"))
            assert _server() == root

    # The docker package does not close a socket that it cannot use.
    @pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning")
    def test_an_unknown_authority_is_not_trusted(
        self, docker_today: Docker, server: ssl.SSLContext, pems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "stranger").mkdir()
        (pems / "ca.pem").write_bytes(Path(make_certificates(tmp_path / "stranger").ca).read_bytes())
        monkeypatch.setenv("DOCKER_CERT_PATH", str(pems))
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        with refusing(docker_today, {}, server) as address:
            monkeypatch.setenv("DOCKER_HOST", address)
            with pytest.raises(DaemonUnavailable, match="certificate verify failed"):
                connect()
        gc.collect()


def test_the_docker_package_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(MissingDependency, match="docker package") as raised:
        connect()
    assert "topcoat[docker]" in (raised.value.hint or "")


def test_errors_of_ours_are_not_translated() -> None:
    with pytest.raises(DaemonError, match=r"^mine$"), engine_errors("doing something"):
        raise DaemonError("mine")


def test_the_message_of_the_engine_is_kept() -> None:
    from docker.errors import APIError
    from requests import Response

    error = APIError("500 Server Error", response=Response(), explanation="no space left on device")
    with pytest.raises(DaemonError, match=r"^loading x: no space left") as raised, engine_errors("loading x"):
        raise error
    assert type(raised.value) is DaemonError


def _pems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Certificates]:
    certificates = make_certificates(tmp_path)
    for name, source in zip(("ca.pem", "cert.pem", "key.pem"), certificates, strict=True):
        (tmp_path / name).write_bytes(Path(source).read_bytes())
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    return tmp_path, certificates


def test_an_encrypted_client_key_of_an_engine_is_an_error_and_nothing_asks_for_its_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pems, _ = _pems(tmp_path, monkeypatch)
    key = serialization.load_pem_private_key((pems / "key.pem").read_bytes(), None)
    algorithm = serialization.BestAvailableEncryption(b"passphrase")
    encrypted = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, algorithm)
    (pems / "key.pem").write_bytes(encrypted)
    with pytest.raises(DaemonUnavailable, match=r"key\.pem is encrypted") as raised:
        connect()
    assert "openssl pkey" in (raised.value.hint or "")


def test_an_invalid_proxy_is_named_without_its_password_before_an_engine_is_contacted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.corp:2375")
    monkeypatch.setenv("HTTP_PROXY", "http://user:sec#ret@host:3128")
    with pytest.raises(DaemonUnavailable, match="invalid HTTP_PROXY") as raised:
        connect()
    assert "sec#" not in str(raised.value)
    assert "ret@" not in str(raised.value)


def test_an_error_of_an_engine_is_escaped() -> None:
    from docker.errors import APIError
    from requests import Response

    with pytest.raises(DaemonError, match=r"^doing: \\x1b\[2Jgone$"), engine_errors("doing"):
        raise APIError("x", response=Response(), explanation="\x1b[2Jgone")
