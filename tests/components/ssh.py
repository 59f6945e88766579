"""sshd as a login node, and an ssh client that reaches it."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.components import host
from tests.components.serve import answers, free_port, serve


@dataclasses.dataclass(frozen=True)
class LoginNode:
    """A running sshd. With ``use``, ssh reaches it as ``host``.

    Attributes:
        host: what ``slurm_host`` is set to.
        port: its TCP port on 127.0.0.1.
        directory: with the keys, and ``config`` of the client.
        bin: a directory for PATH: its ``ssh`` reads that configuration, and nothing of the user's.
        runtime: a directory for XDG_RUNTIME_DIR, for the sockets of connections.
    """

    host: str
    port: int
    directory: Path
    bin: Path
    runtime: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that reaches it."""
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(self.runtime),
            # One that `disconnect` does not find, because its socket was removed, ends soon.
            "TOPCOAT_SSH_KEEP_S": "20",
        }

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the client's ``ssh`` the one that PATH names for the rest of a test, and open a new connection."""
        self.disconnect()
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    def disconnect(self) -> None:
        """End the connections that were kept open."""
        for socket in self.runtime.glob("topcoat*/*"):
            control = ["-o", f"ControlPath={socket}", "-O", "exit", self.host]
            subprocess.run([self.bin / "ssh", *control], capture_output=True, check=False, timeout=30)
            socket.unlink(missing_ok=True)

    def add_host(self, name: str, **settings: str) -> None:
        """Add a host to the client's configuration."""
        lines = [f"Host {name}", *(f"  {key} {value}" for key, value in settings.items())]
        config = self.directory / "config"
        config.write_text("\n".join([*lines, config.read_text()]))


@contextlib.contextmanager
def login_node(directory: Path, logs: Path, environment: Mapping[str, str] | None = None) -> Iterator[LoginNode]:
    """Run sshd in the foreground; its commands get *environment* in addition."""
    sshd, ssh, keygen = (host.tool(name, "openssh") for name in ("sshd", "ssh", "ssh-keygen"))
    directory.mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for key in ("host_key", "id", "other_id"):
        host.run_tool([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / key])
    port, user = free_port(), getpass.getuser()
    (directory / "authorized_keys").write_text((directory / "id.pub").read_text())
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {(directory / 'host_key.pub').read_text()}")
    variables = " ".join(f'"{name}={value}"' for name, value in (environment or {}).items())
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": directory / "host_key",
        "PidFile": "none",
        "AuthorizedKeysFile": directory / "authorized_keys",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "MaxStartups": 100,
        "Subsystem": "sftp internal-sftp",
        **({"SetEnv": variables} if variables else {}),
    }
    (directory / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    config = f"""
Host login
  HostName 127.0.0.1
  Port {port}
  User {user}
Host *
  IdentityFile {directory / "id"}
  IdentitiesOnly yes
  UserKnownHostsFile {directory / "known_hosts"}
  GlobalKnownHostsFile none
"""
    (directory / "config").write_text(config)
    programs, runtime = directory / "bin", directory / "run"
    programs.mkdir()
    runtime.mkdir(0o700)
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {ssh} -F {directory / "config"} "$@"\n')
    (programs / "ssh").chmod(0o755)
    command: list[str | Path] = [sshd, "-D", "-e", "-f", directory / "sshd_config"]
    ready = lambda: answers(("127.0.0.1", port))  # noqa: E731
    with serve(command, log=logs / f"{directory.name}.log", env=host.environment(), ready=ready):
        login = LoginNode("login", port, directory, programs, runtime)
        yield login
        login.disconnect()
