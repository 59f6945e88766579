"""The engine that is found, compared with the one that the docker command line finds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.components.daemons import Docker
from topcoat.engines.endpoint import Endpoint, find_endpoint, other_sockets
from topcoat.errors import DaemonUnavailable
from topcoat.http.tls import TLSSettings


def _context(config: Path, name: str, endpoint: object, *pems: str) -> None:
    """Write a context as ``docker context create`` does."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts/meta" / key
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    for pem in pems:
        file = config / "contexts/tls" / key / "docker" / pem
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(pem)


def _use(config: Path, name: str) -> None:
    config.mkdir(exist_ok=True)
    (config / "config.json").write_text(json.dumps({"currentContext": name}))


def test_without_configuration_the_default_socket_is_used(tmp_path: Path) -> None:
    endpoint = find_endpoint({"DOCKER_CONFIG": str(tmp_path)})
    assert endpoint == Endpoint("")
    assert str(endpoint) == "unix:///var/run/docker.sock"


@pytest.mark.parametrize("host", ["unix:///x.sock", "tcp://h:1", "ssh://u@h", " tcp://h:1 "])
def test_docker_host_wins_over_every_context(tmp_path: Path, host: str) -> None:
    _context(tmp_path, "a", {"Host": "tcp://a:1"})
    _use(tmp_path, "a")
    env = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "absent", "DOCKER_HOST": host}
    assert find_endpoint(env) == Endpoint(host.strip())


def test_docker_context_wins_over_the_current_one(tmp_path: Path) -> None:
    for name in "ab":
        _context(tmp_path, name, {"Host": f"tcp://{name}:1"})
    _use(tmp_path, "a")
    env = {"DOCKER_CONFIG": str(tmp_path)}
    assert find_endpoint(env) == Endpoint("tcp://a:1", None, "a")
    assert str(find_endpoint(env)) == "tcp://a:1 (docker context a)"
    assert find_endpoint({**env, "DOCKER_CONTEXT": "b"}) == Endpoint("tcp://b:1", None, "b")
    assert find_endpoint({**env, "DOCKER_CONTEXT": "default"}) == Endpoint("")


def test_the_configuration_in_the_home_directory_is_read(home: Path) -> None:
    _context(home / ".docker", "a", {"Host": "tcp://a:1"})
    _use(home / ".docker", "a")
    assert find_endpoint({}).url == "tcp://a:1"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"currentContext": ""}', '{"currentContext": 1}', "\xff"])
def test_a_configuration_without_a_context_is_the_default_socket(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    assert find_endpoint({"DOCKER_CONFIG": str(tmp_path)}) == Endpoint("")


class TestTls:
    """The TLS settings of an address."""

    @pytest.fixture
    def env(self, tmp_path: Path) -> dict[str, str]:
        for pem in ("ca.pem", "cert.pem", "key.pem"):
            (tmp_path / pem).write_text(pem)
        return {"DOCKER_HOST": "tcp://h:2376", "DOCKER_CONFIG": str(tmp_path)}

    def test_the_environment_configures_tls(self, tmp_path: Path, env: dict[str, str]) -> None:
        files = (f"{tmp_path}/ca.pem",), ((f"{tmp_path}/cert.pem", f"{tmp_path}/key.pem"),)
        assert find_endpoint({**env, "DOCKER_TLS_VERIFY": "1"}).tls == TLSSettings(True, *files)
        assert find_endpoint({**env, "DOCKER_TLS": "1"}).tls == TLSSettings(False, *files)
        other = tmp_path / "other"
        other.mkdir()
        (other / "ca.pem").touch()
        only_ca = TLSSettings(True, (str(other / "ca.pem"),))
        assert find_endpoint({**env, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(other)}).tls == only_ca

    @pytest.mark.parametrize("also", [{}, {"DOCKER_TLS_VERIFY": ""}, {"DOCKER_CERT_PATH": "/certs"}])
    def test_tls_is_off_by_default(self, env: dict[str, str], also: dict[str, str]) -> None:
        assert find_endpoint({**env, **also}).tls is None

    def test_tls_verify_alone_means_port_2376_of_this_machine(self, env: dict[str, str]) -> None:
        del env["DOCKER_HOST"]
        assert find_endpoint({**env, "DOCKER_TLS_VERIFY": "1"}).url == "tcp://localhost:2376"

    @pytest.mark.parametrize(
        ("unchecked", "pems", "tls"),
        [
            (False, (), None),
            (False, ("ca.pem",), TLSSettings(True, ("ca.pem",))),
            (False, ("ca.pem", "cert.pem"), TLSSettings(True, ("ca.pem",))),
            (False, ("ca.pem", "cert.pem", "key.pem"), TLSSettings(True, ("ca.pem",), (("cert.pem", "key.pem"),))),
            (True, ("cert.pem", "key.pem"), TLSSettings(False, (), (("cert.pem", "key.pem"),))),
            (True, (), TLSSettings(False)),
        ],
    )
    def test_a_context_has_its_own_tls_settings(
        self,
        tmp_path: Path,
        env: dict[str, str],
        unchecked: bool,
        pems: tuple[str, ...],
        tls: TLSSettings | None,
    ) -> None:
        _context(tmp_path, "a", {"Host": "tcp://a:1", "SkipTLSVerify": unchecked}, *pems)
        chosen_env = {"DOCKER_CONFIG": env["DOCKER_CONFIG"], "DOCKER_CONTEXT": "a", "DOCKER_TLS_VERIFY": "1"}
        endpoint = find_endpoint(chosen_env).tls
        if endpoint is not None:
            certs = tuple((Path(cert).name, Path(key).name) for cert, key in endpoint.client_certs)
            endpoint = TLSSettings(endpoint.verify, tuple(Path(file).name for file in endpoint.ca_files), certs)
        assert endpoint == tls

    def test_a_socket_has_no_tls(self, tmp_path: Path) -> None:
        _context(tmp_path, "a", {"Host": "unix:///x", "SkipTLSVerify": True})
        assert find_endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "a"}).tls is None


def test_a_missing_context_is_named(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnavailable, match="docker context 'absent' does not exist") as raised:
        find_endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "absent"})
    assert "docker context" in (raised.value.hint or "")


@pytest.mark.parametrize("endpoint", [None, 1, "text", []])
def test_a_malformed_context_is_named(tmp_path: Path, endpoint: object) -> None:
    _context(tmp_path, "odd", endpoint)
    with pytest.raises(DaemonUnavailable, match=r"cannot read the docker context 'odd' from .*meta\.json"):
        find_endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "odd"})


def test_the_sockets_of_other_engines_are_found(tmp_path: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    before = other_sockets(env)
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman/podman.sock").touch()
    (tmp_path / "docker.sock").touch()
    assert other_sockets(env) == [f"unix://{tmp_path}/docker.sock", f"unix://{tmp_path}/podman/podman.sock", *before]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"DOCKER_HOST": "tcp://127.0.0.1:1"},
        {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_CONTEXT": "a"},
        {"DOCKER_CONTEXT": "a"},
        {"DOCKER_CONTEXT": "default"},
        {"DOCKER_TLS_VERIFY": "1", "DOCKER_CONTEXT": "default"},
        {"DOCKER_TLS_VERIFY": "1", "DOCKER_HOST": "tcp://127.0.0.1:2"},
    ],
)
def test_the_docker_command_line_finds_the_same_engine(
    docker_today: Docker, tmp_path: Path, said: dict[str, str]
) -> None:
    config = tmp_path / "config"
    _context(config, "a", {"Host": "tcp://127.0.0.1:3"})
    _context(config, "current", {"Host": "tcp://127.0.0.1:4"})
    _use(config, "current")
    (config / "ca.pem").write_text("")
    env = {"DOCKER_CONFIG": str(config), "HOME": str(tmp_path), "PATH": os.environ["PATH"], **said}
    command = [*docker_today.cli.command, "context", "ls", "--format", "{{.Current}} {{.Name}} {{.DockerEndpoint}}"]
    listed = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
    (current,) = [line.split() for line in listed if line.startswith("true ")]
    endpoint = find_endpoint(env)
    assert current[1:] == [endpoint.context or "default", endpoint.url or "unix:///var/run/docker.sock"]
