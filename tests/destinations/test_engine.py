"""Which engine is found, and what is said where none is."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from tests.components.daemons import Docker
from tests.components.host import Tool
from topcoat.destinations.engine import connect, engine_error, engine_errors
from topcoat.errors import DaemonError, DaemonUnavailable, MissingDependency


def _server() -> str:
    client = connect()
    try:
        return str(client.info()["DockerRootDir"])
    finally:
        client.close()


def test_docker_host_names_the_engine(docker20: Docker, docker_today: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for engine in (docker20, docker_today):
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        found.append(_server())
    assert found[0] != found[1]


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
def test_a_socket_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(DaemonUnavailable, match=rf"at unix://{tmp_path}/none\.sock: there is no such socket") as raised:
        connect()
    assert "DOCKER_HOST" in (raised.value.hint or "")
    del raised
    gc.collect()


def test_a_port_where_nobody_listens_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(DaemonUnavailable, match=r"tcp://127\.0\.0\.1:1: connection refused"):
        connect()


def test_a_docker_host_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense://x")
    with pytest.raises(DaemonUnavailable, match="nonsense://x"):
        connect()


def test_the_docker_package_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(MissingDependency, match="docker package") as raised:
        connect()
    assert "topcoat[docker]" in (raised.value.hint or "")


def test_errors_of_ours_pass_through() -> None:
    with pytest.raises(DaemonError, match=r"^mine$"), engine_errors("doing something"):
        raise DaemonError("mine")


def test_what_the_engine_says_is_kept() -> None:
    from docker.errors import APIError
    from requests import Response

    said = APIError("500 Server Error", response=Response(), explanation="no space left on device")
    error = engine_error("loading x", said)
    assert str(error) == "loading x: no space left on device"
    assert type(error) is DaemonError
