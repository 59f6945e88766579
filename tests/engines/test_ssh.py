"""Engines over ssh, with a program ssh that connects to an engine on this machine."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.support import workspaces
from tests.support.pushing import load
from topcoat.engines.engine import connect
from topcoat.engines.ssh import SshRelay, ssh_command
from topcoat.errors import DaemonUnavailable


@pytest.fixture
def calls(docker_today: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install an ssh that logs its arguments and runs docker on this machine; return the log file."""
    file = tmp_path / "calls"
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    cli = " ".join(map(str, docker_today.cli.command))
    program.write_text(
        f"#!/bin/sh\nprintf '%s|' \"$@\" >> {file}\necho >> {file}\n"
        f"case \"$*\" in *unknown*) echo 'ssh: no route to unknown' >&2; exit 255;; esac\n"
        f"exec {cli} --host {docker_today.host} system dial-stdio\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return file


@pytest.fixture
def client(calls: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[docker.DockerClient]:
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@box:2222")
    engine_client = connect()
    yield engine_client
    engine_client.close()


def test_an_image_is_loaded_over_ssh(
    docker_today: Docker, client: docker.DockerClient, busybox_image: Image, tmp_path: Path
) -> None:
    base = busybox_image.load(docker_today, "localhost/busybox:1")
    workspace = workspaces.write(tmp_path / "w", {"a": f"a of {tmp_path}", "large": os.urandom(3 << 20)})
    image = load(client, workspace, base).image
    assert docker_today.run("run", "--rm", "--network", "none", image, "cat", "/a") == f"a of {tmp_path}"


@pytest.mark.parametrize(
    "url", ["ssh://me@box:2222", "ssh://box", "ssh://box/", "ssh://me@box/run/my.sock", "ssh://me@[::1]:5"]
)
def test_ssh_is_called_as_the_docker_command_line_calls_it(docker_today: Docker, calls: Path, url: str) -> None:
    subprocess.run([*docker_today.cli.command, "--host", url, "version"], check=True, capture_output=True)
    # It quotes more than it has to, and writes an option and its value as one word.
    theirs = calls.read_text().splitlines()[0].strip("|").replace("|", " ").replace("'", "")
    assert " ".join(ssh_command(url)[1:]) == theirs


@pytest.mark.parametrize(
    "url", ["ssh://", "ssh://:22", "ssh://u:p@h", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://h?x", "ssh://h:port"]
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(DaemonUnavailable, match=r"invalid engine address '(?!.*u:p@)") as raised:
        ssh_command(url)
    assert "ssh://" in (raised.value.hint or "")


# The docker package does not close a connection that it cannot use.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_the_error_of_ssh_is_shown(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://unknown")
    with pytest.raises(DaemonUnavailable, match="at ssh://unknown: ssh: no route to unknown") as raised:
        connect()
    assert calls.read_text().startswith("-o|ConnectTimeout=30|-T|--|unknown|docker|system|dial-stdio")
    del raised
    gc.collect()


def test_a_missing_ssh_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DaemonUnavailable, match="ssh is not installed") as raised:
        SshRelay("ssh://box")
    assert raised.value.hint


def test_closing_removes_the_socket_and_the_processes(docker_today: Docker, calls: Path) -> None:
    relay = SshRelay("ssh://box")
    client = docker.DockerClient(base_url=relay.url, version="auto")
    socket = Path(relay.url.removeprefix("unix://"))
    assert client.ping()
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    relay.close()
    client.close()
    assert not socket.parent.exists()
