"""Connect to an engine over ssh as the docker command line does: ``ssh HOST docker system dial-stdio``.

A unix socket of our own represents the engine. Each connection to it becomes the input and output of one ssh process,
so docker-py uses an ordinary socket and no byte passes through this program.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

from topcoat.errors import DaemonUnavailable
from topcoat.foreign_text import escaped
from topcoat.leftovers import claim, release
from topcoat.registry.failures import redact

# As in the docker command line.
_CONNECT_TIMEOUT_S = 30


class SshRelay:
    """A unix socket, at *url*, whose connections lead to the engine of an ``ssh://`` address."""

    def __init__(self, url: str) -> None:
        """Listen; ssh is started with each connection.

        Raises:
            DaemonUnavailable: *url* is malformed, or this system has no ssh or no unix sockets.
        """
        self._command = ssh_command(url)
        if shutil.which("ssh") is None or not hasattr(socket, "AF_UNIX"):
            raise DaemonUnavailable(
                f"cannot connect to {redact(url)}: ssh is not installed", hint="install an ssh client"
            )
        self._directory = Path(tempfile.mkdtemp(prefix="topcoat-ssh-"))
        claim(self._directory)
        self._errors = self._directory / "stderr"
        self._errors.touch(mode=0o600)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        path = self._directory / "engine.sock"
        self._listener.bind(str(path))
        self._listener.listen()
        self.url = f"unix://{path}"
        self._thread = threading.Thread(target=self._accept, name="topcoat-ssh", daemon=True)
        self._thread.start()

    def last_error(self) -> str:
        """Return the last line of ssh's error output, empty without one."""
        with contextlib.suppress(OSError):
            return escaped(self._errors.read_text("utf-8", "replace").strip().rpartition("\n")[2])
        return ""

    def close(self) -> None:
        """Close all connections, and remove the socket."""
        # shutdown() wakes a thread that is blocked in accept(); close() does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
        release(self._directory)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._processes = [process for process in self._processes if process.poll() is None]
            # If ssh cannot be started, the connection is closed.
            with connection, self._errors.open("ab") as errors, contextlib.suppress(OSError):
                stream = connection.fileno()
                self._processes.append(subprocess.Popen(self._command, stdin=stream, stdout=stream, stderr=errors))


def ssh_command(url: str) -> list[str]:
    """Return the command for ``ssh://[user@]host[:port][/socket]``, or raise ``DaemonUnavailable`` for others."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    user, host, path = parts.username or "", parts.hostname or "", parts.path
    is_option = user.startswith("-") or host.startswith("-")
    if parts.scheme != "ssh" or not host or is_option or parts.password or parts.query or parts.fragment:
        raise DaemonUnavailable(f"invalid engine address {redact(url)!r}", hint="ssh://USER@HOST[:PORT]")
    words = ["ssh", *(["-l", user] if user else []), *(["-p", str(port)] if port else [])]
    words += ["-o", f"ConnectTimeout={_CONNECT_TIMEOUT_S}", "-T"]
    # A shell on the other side parses the command.
    remote = [f"--host=unix://{shlex.quote(path)}"] if path.strip("/") else []
    return [*words, "--", host, "docker", *remote, "system", "dial-stdio"]
