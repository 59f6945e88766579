"""Reach an engine over ssh as the docker command line does: ``ssh HOST docker system dial-stdio``, once a connection.

A unix socket of our own stands for the engine. Each connection to it becomes the input and output of an ssh process,
so the client library sees an ordinary socket and no byte passes through this program.
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
from urllib.parse import SplitResult, urlsplit

from topcoat.errors import DaemonUnavailable

# Seconds; what the docker command line allows.
_CONNECT_TIMEOUT = 30


class SshRelay:
    """A unix socket whose connections end at the engine of an ``ssh://`` address.

    Attributes:
        url: of the socket.
    """

    def __init__(self, url: str) -> None:
        """Listen; nothing is connected before somebody asks.

        Raises:
            DaemonUnavailable: *url* is malformed, or this system has no ssh or no unix sockets.
        """
        self._command = ssh_command(url)
        if shutil.which("ssh") is None or not hasattr(socket, "AF_UNIX"):
            raise DaemonUnavailable(f"{url} cannot be reached: there is no ssh here", hint="install an ssh client")
        self._directory = Path(tempfile.mkdtemp(prefix="topcoat-ssh-"))
        self._said = self._directory / "stderr"
        self._said.touch()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        path = self._directory / "engine.sock"
        self._listener.bind(str(path))
        self._listener.listen()
        self.url = f"unix://{path}"
        self._thread = threading.Thread(target=self._accept, name="topcoat-ssh", daemon=True)
        self._thread.start()

    def said(self) -> str:
        """Return the last line that ssh printed as an error, empty where there is none."""
        with contextlib.suppress(OSError):
            lines = self._said.read_text("utf-8", "replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def close(self) -> None:
        """End every connection."""
        # A thread blocked in accept() is woken by shutdown, not by close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._processes = [process for process in self._processes if process.poll() is None]
            # A failure to start is an end of the connection, and what ssh cannot print is not known.
            with connection, self._said.open("ab") as said, contextlib.suppress(OSError):
                both = connection.fileno()
                self._processes.append(subprocess.Popen(self._command, stdin=both, stdout=both, stderr=said))


def ssh_command(url: str) -> list[str]:
    """Return the command that connects to the engine at ``ssh://[user@]host[:port][/socket]``.

    Raises:
        DaemonUnavailable: *url* is not of that form.
    """
    parts, port = _parts(url)
    host, path = str(parts.hostname), parts.path
    words = ["ssh", *(["-l", parts.username] if parts.username else []), *(["-p", str(port)] if port else [])]
    words += ["-o", f"ConnectTimeout={_CONNECT_TIMEOUT}", "-T"]
    # What ssh is given for the other side is read by a shell there.
    remote = [f"--host=unix://{shlex.quote(path)}"] if path.strip("/") else []
    return [*words, "--", host, "docker", *remote, "system", "dial-stdio"]


def _parts(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    words = (parts.username or "", parts.hostname or "")
    unused = (parts.password, parts.query, parts.fragment)
    if parts.scheme != "ssh" or not parts.hostname or any(unused) or any(word.startswith("-") for word in words):
        raise DaemonUnavailable(f"{url} is no address of an engine", hint="ssh://USER@HOST[:PORT]")
    return parts, port
