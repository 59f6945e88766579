"""The connection to a login node: OpenSSH's own client, so the user's configuration, keys and agent are in force.

All commands share one connection (ControlMaster): the user's own if it is open, else topcoat's. The first command opens
topcoat's connection. Later commands use it, in other processes too. It ends some minutes after its last use.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.schedulers.slurm.remote_shell import last_line

CONNECT_TIMEOUT_S = 20
KEEP_VARIABLE = "TOPCOAT_SSH_KEEP_S"
"""The variable for the time, in seconds, that topcoat's connection stays open after its last use."""

_DEFAULT_KEEP_S = 600
_MAX_KEEP_S = 86400
# ssh itself, without the network; "Match exec" of the configuration can run programs.
_QUERY_TIMEOUT_S = 5.0
# The path of a unix socket has at most 104 bytes, and ssh adds 17 while it creates it.
_MAX_SOCKET_PATH = 87
_NAME_SIZE = 16
_OPTIONS = (
    "BatchMode=yes",
    f"ConnectTimeout={CONNECT_TIMEOUT_S}",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    # Of the user's configuration, for terminals and not for commands.
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "LogLevel=ERROR",
)
_NOT_SHARED = ("ControlMaster=no", "ControlPath=none")
_ADDRESS = re.compile(r"(?:(?P<user>[^@]+)@)?(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^@:\[\]]+))(?::(?P<port>\d{1,5}))?")
_HINTS = {
    "Could not resolve hostname": "check the name in slurm_host, or add it to ~/.ssh/config",
    "Permission denied": "topcoat asks for no password: set up a key (ssh-copy-id {host}), load it with ssh-add, or "
    "open a connection that it can use (ControlPath in ~/.ssh/config)",
    "Too many authentication failures": "name one key in ~/.ssh/config (IdentityFile, IdentitiesOnly yes)",
    "HOST IDENTIFICATION HAS CHANGED": "the host's key has changed: ask its administrators, then ssh-keygen -R HOST",
    "Host key verification failed": "the host's key is not known yet: run once, and compare it: ssh {host}",
    "Connection refused": "no ssh server listens on that port: slurm_host=user@login:port",
    "timed out": "check the network or the VPN, and the name in slurm_host",
}


class Connection:
    """How ssh reaches one host."""

    def __init__(self, host: str) -> None:
        """Take ``[user@]host[:port]``; nothing is contacted yet.

        Raises:
            SchedulerError: *host* is malformed.
        """
        self.host = host
        self._destination = _destination(host)
        self._control: tuple[str, ...] = _NOT_SHARED
        self._socket = ""

    def find(self) -> bool:
        """Choose the connection that all commands share; tell whether it seems to be open already.

        Raises:
            SchedulerError: there is no ssh client, or it does not accept its configuration.
        """
        if shutil.which("ssh") is None:
            raise SchedulerError(
                f"cannot connect to {self.host}: ssh is not installed", hint="install OpenSSH's client"
            )
        if os.name == "nt":  # its OpenSSH has no ControlMaster
            return False
        keep_s = _keep_s()
        self._control, self._socket = (), ""
        settings = self._ssh("-G")
        if settings.returncode:
            raise self.lost(settings.stderr)
        if re.search(rb"^controlpath (?!none$)", settings.stdout, re.MULTILINE):
            self._control = ("ControlMaster=no",)
            if self._ssh("-O", "check").returncode == 0:
                return True
        directory = _socket_directory()
        if not directory:
            self._control = _NOT_SHARED
            return False
        # Other settings are another connection.
        self._socket = f"{directory}/{hashlib.sha256(settings.stdout).hexdigest()[:_NAME_SIZE]}"
        path = self._socket.replace("%", "%%")
        # ssh takes 0 as "for ever".
        self._control = ("ControlMaster=auto", f"ControlPersist={max(keep_s, 1)}", f"ControlPath={path}")
        # Not asked: the caller finds out, and one that has died is replaced by ssh itself.
        return os.path.exists(self._socket)

    def words(self, tty: str, remote: str) -> list[str]:
        """Return the words that run *remote* in a session; *tty* is ``-T`` or ``-tt``."""
        return ["ssh", *self._options(), tty, *self._destination, remote]

    def forget(self) -> None:
        """Let the next command open another connection; other processes may still be using this one."""
        if self._socket:
            with contextlib.suppress(OSError):
                os.unlink(self._socket)
        else:
            self._control = _NOT_SHARED

    def lost(self, errors: bytes) -> SchedulerError:
        """Return the error for what ssh printed before it ended."""
        text = last_line(errors)
        hint = next((hint for part, hint in _HINTS.items() if part.encode() in errors), "try it: ssh {host} true")
        return SchedulerError(
            f"cannot connect to {self.host} over ssh: {escaped(text) or f'no response in {CONNECT_TIMEOUT_S} s'}",
            hint=hint.format(host=self.host),
        )

    def _ssh(self, *question: str) -> subprocess.CompletedProcess[bytes]:
        words = ["ssh", *self._options(), *question, *self._destination]
        try:
            return subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_QUERY_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 255, b"", b"")

    def _options(self) -> Iterator[str]:
        for option in (*_OPTIONS, *self._control):
            yield from ("-o", option)


def _destination(host: str) -> Sequence[str]:
    match = _ADDRESS.fullmatch(host)
    if match is None or host.startswith("-") or not host.isprintable() or " " in host:
        raise SchedulerError(f"invalid slurm_host {host!r}", hint="user@login, or user@login:port")
    user, port = match["user"], match["port"]
    words = [*(["-l", user] if user else []), *(["-p", port] if port else [])]
    return [*words, "--", match["ipv6"] or match["host"]]


def _keep_s() -> int:
    value = os.environ.get(KEEP_VARIABLE, "") or str(_DEFAULT_KEEP_S)
    if not (value.isascii() and value.isdecimal() and int(value[:9]) <= _MAX_KEEP_S):
        raise SchedulerError(
            f"invalid {KEEP_VARIABLE} {value!r}",
            hint=f"seconds that an unused connection stays open, from 0 to {_MAX_KEEP_S}",
        )
    return int(value)


def _socket_directory() -> str:
    """Return a private directory with a short path, empty if none can be made."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    of_the_user = f"topcoat-{os.geteuid()}"
    paths = [f"{runtime}/topcoat"] if os.path.isabs(runtime) else []
    for path in (*paths, f"{tempfile.gettempdir()}/{of_the_user}", f"/tmp/{of_the_user}"):
        if len(os.fsencode(path)) + 1 + _NAME_SIZE > _MAX_SOCKET_PATH:
            continue
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            # In a directory that everybody can write to, another user may have made it.
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
                return path
    return ""
