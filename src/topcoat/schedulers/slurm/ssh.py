"""Reach a login node over ssh: OpenSSH's own client, so the user's configuration, keys and agent are in force.

One connection serves all commands (ControlMaster). It is a child of this process and ends with it: the remote end
waits for the end of its input. Its socket is in a private directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.leftovers import claim, release
from topcoat.schedulers.slurm.remote_shell import LIST, READ, WRITE, last_line, os_error, remote_words
from topcoat.schedulers.slurm.session import BEGIN, EXIT_255, WAIT, Session
from topcoat.schedulers.slurm.site import (
    MAX_OUTPUT,
    CommandResult,
    LocalSite,
    Site,
    no_program,
    program_of,
)

_CONNECT_TIMEOUT_S = 20
_FILE_TIMEOUT_S = 120.0
_CLOSE_TIMEOUT_S = 2.0
# sshd allows 10 sessions in one connection by default (MaxSessions).
_MAX_SESSIONS = 8
# The path of a unix socket has at most 104 bytes, and ssh adds 17 while it creates it.
_MAX_SOCKET_DIRECTORY = 70

_OPTIONS = (
    "BatchMode=yes",
    f"ConnectTimeout={_CONNECT_TIMEOUT_S}",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    # Of the user's configuration, for terminals and not for commands.
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "ControlPersist=no",
    "LogLevel=ERROR",
)
_ADDRESS = re.compile(r"(?:(?P<user>[^@]+)@)?(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^@:\[\]]+))(?::(?P<port>\d{1,5}))?")
# The home directory, and which optional programs there are.
_FACTS = """
printf '%s\\0' "$HOME"
for name in zstd; do command -v $name >/dev/null && echo $name; done
"""
# The connection's own session says it: another one would run the start-up files of the shell once more.
_READY = rf"printf '\036topcoat\036'; {_FACTS} printf '\036'; exec cat >/dev/null"
_READY_END = b"\x1e"
_MAX_FACTS = 1 << 16
_PLAIN = 'exec /bin/sh -c \'eval "$(printf %b "$1")"\' sh '


class Output(NamedTuple):
    """What a remote command printed, as bytes."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class SshSite:
    """A login node; see ``Site``."""

    def __init__(self, host: str) -> None:
        """Take ``[user@]host[:port]``; nothing is contacted yet."""
        self.host = host
        self._words = _destination(host)
        self._lock = threading.Lock()
        self._sessions = threading.Semaphore(_MAX_SESSIONS)
        self._connection: subprocess.Popen[bytes] | None = None
        # Opened before it is needed: the start-up files of a login shell often take longer than a command.
        self._next_session: Session | None = None
        self._directory = ""
        self._facts = b""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> CommandResult:
        """Run a command on the login node and wait for its end."""
        done = self.output(command, stdin=stdin, timeout_s=timeout_s)
        if done.exit_code == 127 and any(text in done.stderr for text in (b"not found", b"No such file")):
            raise no_program(program_of(command), self.host)
        stdout, stderr = (out[:MAX_OUTPUT].decode(errors="surrogateescape") for out in (done.stdout, done.stderr))
        return CommandResult(done.exit_code, stdout, stderr)

    def output(self, command: Sequence[str], *, stdin: bytes | Iterator[bytes] = b"", timeout_s: float) -> Output:
        """Run a command and return its output as bytes; any exit code is returned.

        Args:
            command: the words.
            stdin: its input, or blocks of it, which are made while they are sent. If the command ends before them, the
                others are not made.
            timeout_s: how long the command may take, after the last block was sent.
        """
        with self._sessions, self._take_session() as session:
            return self._result(*session.run(command, stdin, timeout_s))

    def _result(self, exit_code: int, printed: bytes, errors: bytes) -> Output:
        if exit_code == 255 and EXIT_255 not in errors:
            raise self._lost(errors)
        _, begin, result = printed.partition(BEGIN)
        if not begin:
            raise SchedulerError(
                f"{self.host} did not run a command: {escaped(last_line(errors or printed))}",
                hint=f"check the shell's start-up files there: ssh {self.host} true",
            )
        return Output(exit_code, result, errors.replace(EXIT_255, b""))

    def _take_session(self) -> Session:
        """Return a session of the connection, which is opened first, and open the next one."""
        with self._lock:
            self._open()
            if self._next_session is None or not self._next_session.is_waiting:
                self._end_next_session()
                self._next_session = self._new_session()
            session, self._next_session = self._next_session, self._new_session() if self._directory else None
            return session

    def _new_session(self) -> Session:
        return Session(self._words_of(WAIT, "-T"))

    def _end_next_session(self) -> None:
        if self._next_session is not None:
            self._next_session.end()
            self._next_session = None

    def interactive(self, command: Sequence[str], *, tty: bool) -> int:
        """Run a command with this process's standard input, output and error."""
        with self._lock:
            self._open()
            words = self._words_of(_PLAIN + remote_words(command), "-tt" if tty else "-T")
        return subprocess.run(words, check=False).returncode

    def home(self) -> str:
        """Return the user's home directory there."""
        home = os.fsdecode(self._known_facts()[0])
        if not home.startswith("/"):
            raise SchedulerError(f"{self.host} has no home directory for this user", hint="set HOME there")
        return home

    def has_program(self, name: str) -> bool:
        """Tell whether the login node has one of the optional programs."""
        return name.encode() in self._known_facts()[1].split()

    def _known_facts(self) -> tuple[bytes, bytes]:
        with self._lock:
            self._open()
        if not self._facts:
            self._facts = self.output(["/bin/sh", "-c", _FACTS], timeout_s=_FILE_TIMEOUT_S).stdout
        home, _, programs = self._facts.partition(b"\0")
        return home, programs

    def read_file(self, path: str, offset: int = 0, limit: int = MAX_OUTPUT) -> bytes:
        """Return a part of a file."""
        return self._shell(READ, path, str(offset + 1), str(limit))

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file beside its place and rename it there."""
        self._shell(WRITE, path, f"{mode:04o}", stdin=data)

    def make_dir(self, path: str, mode: int = 0o755) -> None:
        """Create a directory and its parents."""
        self._shell('mkdir -p -m "$2" -- "$1"', path, f"{mode:04o}")

    def list_dir(self, path: str) -> list[str]:
        """Return the names in a directory."""
        names = self._shell(LIST, path).split(b"\0")[:-1]
        return sorted(os.fsdecode(name.removeprefix(b"./")) for name in names)

    def remove_tree(self, path: str) -> None:
        """Remove a directory or a file."""
        self._shell('rm -rf -- "$1"', path)

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            connection, directory = self._connection, self._directory
            self._connection, self._directory = None, ""
            self._end_next_session()
        if connection is not None:
            _end(connection)
        if directory:
            shutil.rmtree(directory, ignore_errors=True)
            release(directory)

    def _shell(self, script: str, path: str, *args: str, stdin: bytes = b"") -> bytes:
        command = ["env", "LC_ALL=C", "/bin/sh", "-c", script, "sh", path, *args]
        done = self.output(command, stdin=stdin, timeout_s=_FILE_TIMEOUT_S)
        if done.exit_code:
            raise os_error(done.stderr, path)
        return done.stdout

    def _words_of(self, remote: str, tty: str) -> list[str]:
        """Return the words that run *remote* in a session of the open connection."""
        control = ["-o", "ControlMaster=no", "-S", f"{self._directory}/s"] if self._directory else []
        return ["ssh", *_options(), *control, tty, *self._words, remote]

    def _open(self) -> None:
        if self._connection is None or self._connection.poll() is not None:
            self._connect()

    def _connect(self) -> None:
        if shutil.which("ssh") is None:
            raise SchedulerError(
                f"cannot connect to {self.host}: ssh is not installed", hint="install OpenSSH's client"
            )
        if os.name == "nt":  # its OpenSSH has no ControlMaster: each command has a connection of its own
            return
        self._end_next_session()
        if self._connection is not None:
            _end(self._connection)
        if self._directory:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._directory}/s")
        else:
            self._directory = f"{_socket_parent()}/topcoat-ssh-{os.urandom(8).hex()}"
            claim(self._directory)
            os.mkdir(self._directory, 0o700)
        control = ["-o", "ControlMaster=yes", "-S", f"{self._directory}/s"]
        words = ["ssh", *_options(), *control, "-T", *self._words, _PLAIN + remote_words(["/bin/sh", "-c", _READY])]
        errors = Path(self._directory, "stderr")
        with errors.open("wb") as stderr:
            # If this process dies, the remote end finds the end of its input, and the connection ends.
            connection = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
            )
        try:
            facts = _wait_until_ready(connection)
        except BaseException:
            _end(connection)
            raise
        if facts is None:
            _end(connection)
            lost, directory = self._lost(errors.read_bytes()), self._directory
            self._directory = ""
            shutil.rmtree(directory, ignore_errors=True)
            release(directory)
            raise lost
        self._connection, self._facts = connection, facts
        self._next_session = self._new_session()

    def _lost(self, errors: bytes) -> SchedulerError:
        text = last_line(errors)
        hint = next((hint for part, hint in _HINTS.items() if part.encode() in errors), f"try it: ssh {self.host} true")
        return SchedulerError(
            f"cannot connect to {self.host} over ssh: {escaped(text) or f'no response in {_CONNECT_TIMEOUT_S} s'}",
            hint=hint.format(host=self.host),
        )


def open_site(host: str) -> Site:
    """Return the site of *host* (``user@login``), this machine if it is empty; nothing is contacted yet."""
    return SshSite(host) if host else LocalSite()


_HINTS = {
    "Could not resolve hostname": "check the name in slurm_host, or add it to ~/.ssh/config",
    "Permission denied": "topcoat asks for no password: set up a key (ssh-copy-id {host}), or load it with ssh-add",
    "Too many authentication failures": "name one key in ~/.ssh/config (IdentityFile, IdentitiesOnly yes)",
    "HOST IDENTIFICATION HAS CHANGED": "the host's key has changed: ask its administrators, then ssh-keygen -R HOST",
    "Host key verification failed": "the host's key is not known yet: run once, and compare it: ssh {host}",
    "Connection refused": "no ssh server listens on that port: slurm_host=user@login:port",
    "timed out": "check the network or the VPN, and the name in slurm_host",
}


def _destination(host: str) -> list[str]:
    match = _ADDRESS.fullmatch(host)
    if match is None or host.startswith("-") or not host.isprintable() or " " in host:
        raise SchedulerError(f"invalid slurm_host {host!r}", hint="user@login, or user@login:port")
    user, port = match["user"], match["port"]
    words = [*(["-l", user] if user else []), *(["-p", port] if port else [])]
    return [*words, "--", match["ipv6"] or match["host"]]


def _options() -> list[str]:
    return [word for option in _OPTIONS for word in ("-o", option)]


def _socket_parent() -> str:
    directory = tempfile.gettempdir()
    return directory if len(os.fsencode(directory)) <= _MAX_SOCKET_DIRECTORY else "/tmp"


def _wait_until_ready(connection: subprocess.Popen[bytes]) -> bytes | None:
    """Return the facts that the remote shell prints; None if the time limit is over, or ssh has ended."""
    assert connection.stdout is not None
    deadline, printed = time.monotonic() + 2 * _CONNECT_TIMEOUT_S, b""
    handle = connection.stdout.fileno()
    while (remaining := deadline - time.monotonic()) > 0 and len(printed) < _MAX_FACTS:
        if not select.select([handle], [], [], remaining)[0]:
            break
        block = os.read(handle, 4096)
        if not block:
            break
        printed += block
        start = printed.find(BEGIN)
        if start < 0:
            # The end of what the start-up files print is enough to find it.
            printed = printed[-len(BEGIN) :]
        elif (end := printed.find(_READY_END, start + len(BEGIN))) >= 0:
            return printed[start + len(BEGIN) : end]
    return None


def _end(connection: subprocess.Popen[bytes]) -> None:
    for stream in (connection.stdin, connection.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        connection.wait(_CLOSE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        connection.kill()
        connection.wait()
