"""Where Slurm's commands run and where its nodes' shared files are: this machine, or a login node."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, get_args

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.system_text import system_text

FILE_TIMEOUT_S = 120.0
"""How long a small file, or the directory of a job that has not run, may take."""

MAX_OUTPUT = 64 << 20
"""Bytes of a command's output that are kept."""


Variable = Literal["SLURM_CLUSTERS", "SBATCH_PARTITION", "SBATCH_QOS"]
"""Variables that decide what Slurm's commands do."""

VARIABLES: tuple[Variable, ...] = get_args(Variable)

_MAX_SAID = 1 << 16
_OF_SLURM = ("sacct", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
_NOT_OF_A_JOB = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")


class CommandResult(NamedTuple):
    """Hold what a command did; text is decoded as paths are, so that those in it can be used."""

    exit_code: int
    stdout: str
    stderr: str


class Site(Protocol):
    """Run commands and use files where Slurm is. Paths are absolute POSIX paths there, and may have any characters.

    File methods raise the ``OSError`` that the same call raises on this machine (``FileNotFoundError``, ``ENOSPC``).
    All methods may be called from several threads. Only a lost or refused connection raises ``SchedulerError``.

    Attributes:
        host: the login node as the user gave it (``slurm_host``); empty for this machine.
    """

    host: str

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> CommandResult:
        """Run a command and wait for its end.

        Raises:
            SchedulerError: the program does not exist, or *timeout_s* is over: then it is ended.
        """

    def interactive(self, command: Sequence[str], *, tty: bool) -> int:
        """Run a command with this process's standard input, output and error, and return its exit code."""

    def home(self) -> str:
        """Return the user's home directory."""

    def variable(self, name: Variable) -> str:
        """Return a variable of the environment that Slurm's commands have; empty without it."""

    def read_file(self, path: str, offset: int = 0, limit: int = MAX_OUTPUT) -> bytes:
        """Return at most *limit* bytes of a file from *offset* on; none behind its end."""

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file beside its place and rename it there; the directory exists."""

    def make_dir(self, path: str, mode: int = 0o755) -> None:
        """Create a directory and its parents, unless it exists."""

    def list_dir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""

    def remove_tree(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Remove a directory with everything in it, or a file; do nothing if it does not exist."""

    def close(self) -> None:
        """Close the connection. May be called more than once."""


class LocalSite:
    """This machine has Slurm's commands and the shared file system."""

    host = ""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> CommandResult:
        """Run a command and wait for its end."""
        try:
            # In a session of its own: ^C is for topcoat, which ends the command itself.
            done = subprocess.run(
                [system_text(word) for word in command],
                input=stdin,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
                env=_environment(),
            )
        except FileNotFoundError:
            raise no_program(command[0]) from None
        except subprocess.TimeoutExpired as error:
            raise no_response(program_of(command), timeout_s, said=error.stderr or b"") from None
        except OSError as error:
            raise SchedulerError(f"cannot run {command[0]}: {error.strerror or error}") from error
        if done.returncode == 127 and is_missing(program_of(command), done.stderr):
            raise no_program(program_of(command))
        return CommandResult(
            done.returncode, os.fsdecode(done.stdout[:MAX_OUTPUT]), os.fsdecode(done.stderr[:MAX_OUTPUT])
        )

    def interactive(self, command: Sequence[str], *, tty: bool) -> int:
        """Run a command with this process's standard input, output and error."""
        if shutil.which(program_of(command)) is None:
            raise no_program(program_of(command))
        return subprocess.run([system_text(word) for word in command], check=False, env=_environment()).returncode

    def home(self) -> str:
        """Return the user's home directory."""
        return os.path.expanduser("~")

    def variable(self, name: Variable) -> str:
        """Return a variable of this process."""
        return os.environ.get(name, "")

    def read_file(self, path: str, offset: int = 0, limit: int = MAX_OUTPUT) -> bytes:
        """Return a part of a file."""
        with open(system_text(path), "rb") as file:
            file.seek(offset)
            return file.read(limit)

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file beside its place and rename it there."""
        path = system_text(path)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".topcoat-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def make_dir(self, path: str, mode: int = 0o755) -> None:
        """Create a directory and its parents."""
        os.makedirs(system_text(path), mode, exist_ok=True)

    def list_dir(self, path: str) -> list[str]:
        """Return the names in a directory."""
        return sorted(os.listdir(system_text(path)))

    def remove_tree(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Remove a directory or a file."""
        path = system_text(path)
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(path) and not os.path.islink(path):
                try:
                    shutil.rmtree(path)
                except PermissionError:
                    _open_directories(path)
                    shutil.rmtree(path)
            else:
                os.unlink(path)

    def close(self) -> None:
        """Do nothing: there is no connection."""


def _open_directories(path: str) -> None:
    """Let the user write to *path* and the directories below: a job may have made them read-only, as caches are."""
    os.chmod(path, 0o700)
    for parent, names, _ in os.walk(path):
        for directory in [f"{parent}/{name}" for name in names]:
            if not os.path.islink(directory):
                os.chmod(directory, 0o700)


def _environment() -> dict[str, str]:
    """Return the environment for Slurm's commands: those of a job that runs topcoat would be options of the new job."""
    if "SLURM_JOB_ID" not in os.environ:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name in _NOT_OF_A_JOB}


def program_of(command: Sequence[str]) -> str:
    """Return the program of *command*, behind ``env`` and its arguments."""
    words = list(command)
    if words[0] == "env":
        words.pop(0)
        while words and (words[0].startswith("-u") or "=" in words[0]):
            words = words[2:] if words[0] == "-u" else words[1:]
    return words[0] if words else command[0]


def is_missing(program: str, stderr: bytes) -> bool:
    """Tell whether a shell, or ``env``, did not find *program*; a job may say so of another program."""
    name = re.escape(program.encode())
    return bool(re.search(rb"(^|\W)%b\W{0,5}: (command )?(not found|No such file)" % name, stderr[-_MAX_SAID:]))


def no_program(program: str, host: str = "") -> SchedulerError:
    """Return the error for a *program* of Slurm that does not exist on *host*."""
    where = host or "this machine"
    hint = (
        "check that the commands of Slurm are in the PATH of a non-interactive shell there"
        if host
        else "run topcoat on a login node, or reach one over ssh: -cfg slurm_host=user@login"
    )
    return SchedulerError(f"{where} has no program {program!r}", hint=hint)


def no_response(program: str, timeout_s: float, host: str = "", said: bytes = b"") -> SchedulerError:
    """Return the error for a command that did not end in time; *said* is its standard error."""
    if program in _OF_SLURM:
        last = escaped(said.decode(errors="replace").strip().rpartition("\n")[2])
        return SchedulerError(
            f"Slurm's {program} did not respond within {timeout_s:.0f} s{f': {last}' if last else ''}",
            hint="check the controller with: scontrol ping",
        )
    return SchedulerError(
        f"{host or 'this machine'} did not read or write files within {timeout_s:.0f} s ({program})",
        hint="check the file system that the nodes share, then run the command again",
    )
