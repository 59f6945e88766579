"""Reach a login node over ssh: run commands and use files there."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.schedulers.slurm.connection import CONNECT_TIMEOUT_S, Connection
from topcoat.schedulers.slurm.remote_shell import LIST, READ, REMOVE, WRITE, last_line, os_error, remote_words
from topcoat.schedulers.slurm.session import SERVE, Facts, Output, Session, SessionEnded
from topcoat.schedulers.slurm.site import (
    FILE_TIMEOUT_S,
    MAX_OUTPUT,
    CommandResult,
    LocalSite,
    Site,
    Variable,
    is_missing,
    no_program,
    program_of,
)

# sshd allows 10 sessions in one connection by default (MaxSessions).
_MAX_SESSIONS = 8
# An open connection whose network has gone does not respond; the start-up files of a login shell may take long.
_OPEN_TIMEOUT_S = 30.0
_PLAIN = 'exec /bin/sh -c \'eval "$(printf %b "$1")"\' sh '


class SshSite:
    """A login node; see ``Site``."""

    def __init__(self, host: str) -> None:
        """Take ``[user@]host[:port]``; nothing is contacted yet."""
        self.host = host
        self._connection = Connection(host)
        self._lock = threading.Lock()
        self._permits = threading.Semaphore(_MAX_SESSIONS)
        self._waiting: list[Session] = []
        self._facts: Facts | None = None

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> CommandResult:
        """Run a command on the login node and wait for its end."""
        done = self.output(command, stdin=stdin, timeout_s=timeout_s)
        if done.exit_code == 127 and is_missing(program_of(command), done.stderr):
            raise no_program(program_of(command), self.host)
        return CommandResult(done.exit_code, os.fsdecode(done.stdout), os.fsdecode(done.stderr))

    def output(self, command: Sequence[str], *, stdin: bytes | Iterator[bytes] = b"", timeout_s: float) -> Output:
        """Run a command and return its output as bytes; any exit code is returned.

        Args:
            command: the words.
            stdin: its input, or blocks of it, which are made while they are sent. If the command ends before them, the
                others are not made.
            timeout_s: how long the command may take, after the last block was sent. A block may take two minutes.
        """
        with self._permits, self._session() as session:
            return session.run(command, stdin, timeout_s)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """Take a session that waits, or open one; afterwards it waits for the next command."""
        with self._lock:
            session = self._open()
        try:
            yield session
        except SessionEnded as error:
            raise self._failure(error) from None
        finally:
            if session.is_usable:
                self._waiting.append(session)
            else:
                session.end()

    def _open(self) -> Session:
        while self._waiting:
            if (session := self._waiting.pop()).is_usable:
                return session
            session.end()
        try:
            if self._connection.find():
                with suppress(SessionEnded):
                    return self._new_session(_OPEN_TIMEOUT_S)
                self._connection.forget()
            return self._new_session(2 * CONNECT_TIMEOUT_S)
        except SessionEnded as error:
            raise self._failure(error) from None

    def _new_session(self, timeout_s: float) -> Session:
        session = Session(self._connection.words("-T", SERVE), self.host)
        try:
            self._facts = session.greet(timeout_s)
        except BaseException:
            session.end()
            raise
        return session

    def _failure(self, end: SessionEnded) -> SchedulerError:
        if end.exit_code in (None, 255):
            return self._connection.lost(end.errors)
        return SchedulerError(
            f"{self.host} did not run a command: {escaped(last_line(end.errors or end.printed))}",
            hint=f"check the shell's start-up files there: ssh {self.host} true",
        )

    def interactive(self, command: Sequence[str], *, tty: bool) -> int:
        """Run a command with this process's standard input, output and error."""
        with self._session():
            words = self._connection.words("-tt" if tty else "-T", _PLAIN + remote_words(command))
        return subprocess.run(words, check=False).returncode

    def home(self) -> str:
        """Return the user's home directory there."""
        home = self._known_facts().home
        if not home.startswith("/"):
            raise SchedulerError(f"{self.host} has no home directory for this user", hint="set HOME there")
        return home

    def variable(self, name: Variable) -> str:
        """Return a variable of the environment there."""
        return self._known_facts().variables[name]

    def has_program(self, name: str) -> bool:
        """Tell whether the login node has one of the optional programs."""
        return name in self._known_facts().programs

    def _known_facts(self) -> Facts:
        if self._facts is None:
            with self._session():
                pass
        assert self._facts is not None
        return self._facts

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

    def remove_tree(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Remove a directory or a file."""
        self._shell(REMOVE, path, timeout_s=timeout_s)

    def close(self) -> None:
        """End the sessions that wait; the connection stays open for other commands."""
        with self._lock:
            while self._waiting:
                self._waiting.pop().end()

    def _shell(
        self, script: str, path: str, *args: str, stdin: bytes = b"", timeout_s: float = FILE_TIMEOUT_S
    ) -> bytes:
        command = ["env", "LC_ALL=C", "/bin/sh", "-c", script, "sh", path, *args]
        done = self.output(command, stdin=stdin, timeout_s=timeout_s)
        if done.exit_code:
            raise os_error(done.stderr, path)
        return done.stdout


def open_site(host: str) -> Site:
    """Return the site of *host* (``user@login``), this machine if it is empty; nothing is contacted yet."""
    return SshSite(host) if host else LocalSite()
