"""Run commands in a replica, connect a terminal to it, and copy files, through the API."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.schedulers.copying import ChunkReader, extract, move, split_path, temporary_beside, without_owner
from topcoat.schedulers.kubernetes.channels import STDERR, STDOUT, Channels
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.fields import Manifest, field, main_container, name_of, text
from topcoat.schedulers.kubernetes.kinds import POD
from topcoat.schedulers.terminal import raw_terminal

if TYPE_CHECKING:
    import tarfile

_PIECE = 1 << 16
_MAX_ERROR = 4096


class RunningReplica:
    """A replica whose container runs."""

    def __init__(self, client: Client, pod: Manifest, where: str) -> None:
        """Take the newest *pod* of the replica *where*, such as ``trainer/0``.

        Raises:
            SchedulerError: its container does not run.
        """
        if not field(main_container(pod), "state", "running"):
            phase = text(pod, "status", "phase") or "Unknown"
            raise SchedulerError(f"the replica {where} does not run: {phase}", hint="topcoat status shows its state")
        self._client = client
        self._where = where
        self._path = POD.path(text(pod, "metadata", "namespace"), name_of(pod))
        self._container = text(pod, "spec", "containers", 0, "name")

    def execute(self, command: Sequence[str], *, tty: bool = False) -> int:
        """Run *command* with this process's standard streams and return its exit code."""
        query = self._query(stdin=True, tty=tty)
        with Channels(self._client, f"{self._path}/exec", query, command, f"running {command[0]!r}") as channels:
            return _connect_streams(channels, tty=tty)

    def attach(self, *, tty: bool) -> int:
        """Connect this process's standard streams to the main process until it ends."""
        query = self._query(stdin=True, tty=tty)
        with Channels(self._client, f"{self._path}/attach", query, (), f"attaching to {self._where}") as channels:
            return _connect_streams(channels, tty=tty)

    def copy_from(self, path: str, destination: str | os.PathLike[str]) -> None:
        """Copy a file or directory of the container to *destination*, which appears whole or not at all."""
        directory, name = split_path(path)
        command = ["tar", "cf", "-", "-C", directory, "--", name]
        with (
            Channels(self._client, f"{self._path}/exec", self._query(), command, f"copying {path}") as channels,
            temporary_beside(destination) as temporary,
        ):
            errors = bytearray()
            chunks = _standard_output(channels, errors)
            extract(io.BufferedReader(ChunkReader(chunks)), temporary, path)
            for _ in chunks:
                # To the end, where the exit code is.
                pass
            self._check(channels, bytes(errors), f"cannot copy {path} of {self._where}")
            extracted = temporary if name == "." else os.path.join(temporary, name)
            if not os.path.lexists(extracted):
                raise SchedulerError(f"cannot copy {path} of {self._where}: tar sent nothing")
            move(extracted, destination)

    def copy_to(self, source: str | os.PathLike[str], path: str) -> None:
        """Copy a local file or directory into the container, where it becomes *path*, or into that directory."""
        directory, name = split_path(path)
        target = posixpath.join(directory, name)
        action = f"cannot copy {source} to {path} of {self._where}"
        # A process that ends before it has read much input keeps the server busy: try with an empty archive first.
        try:
            self._unpack(target, action, lambda archive: None)
        except SchedulerError:  # no directory yet
            if name == ".":
                raise
            self._unpack(directory, action, lambda archive: None)
        else:
            directory, name = target, os.path.basename(os.path.abspath(source))
        self._unpack(directory, action, lambda archive: archive.add(source, name, filter=without_owner))

    def _unpack(self, directory: str, action: str, fill: Callable[[tarfile.TarFile], None]) -> None:
        """Unpack, in a directory of the container, the archive that *fill* adds members to."""
        import tarfile

        command = ["tar", "xmf", "-", "-C", directory]
        with Channels(self._client, f"{self._path}/exec", self._query(stdin=True), command, action) as channels:
            errors: list[bytes] = []
            receiver = threading.Thread(target=_collect, args=(channels, errors), daemon=True)
            receiver.start()
            writer: Any = _InputWriter(channels)
            with (
                contextlib.suppress(BrokenPipeError),
                tarfile.open(fileobj=writer, mode="w|", format=tarfile.GNU_FORMAT) as archive,
            ):
                fill(archive)
            channels.close_input()
            receiver.join()
            self._check(channels, b"".join(errors), action)

    def _query(self, *, stdin: bool = False, tty: bool = False) -> dict[str, str]:
        query = {"container": self._container, "stdout": "true"}
        query |= {"stdin": "true"} if stdin else {}
        # A terminal has one output.
        return query | ({"tty": "true"} if tty else {"stderr": "true"})

    def _check(self, channels: Channels, errors: bytes, action: str) -> None:
        if channels.exit_code == 0:
            return
        why = errors.decode("utf-8", "replace").strip().splitlines()
        reason = (
            why[0] if why else "the connection ended" if channels.exit_code is None else f"exit {channels.exit_code}"
        )
        raise SchedulerError(f"{action}: {escaped(reason)}")


def _standard_output(channels: Channels, errors: bytearray) -> Iterator[bytes]:
    """Yield the standard output of a process; the beginning of its standard error goes into *errors*."""
    for output in channels.outputs():
        if output.channel == STDERR:
            errors += output.data[: _MAX_ERROR - len(errors)]
        else:
            yield output.data


class _InputWriter(io.RawIOBase):
    """The standard input of a process as a file."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._channels.has_ended:
            raise BrokenPipeError
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            self._channels.send(bytes(view[start : start + _PIECE]))
        return len(view)


def _collect(channels: Channels, errors: list[bytes]) -> None:
    try:
        errors += [output.data for output in channels.outputs() if output.channel == STDERR]
    except SchedulerError as error:
        errors.append(str(error).encode())


def _connect_streams(channels: Channels, *, tty: bool) -> int:
    """Copy between this process's standard streams and those of *channels* until the process ends."""
    outputs: dict[int, IO[bytes]] = {STDOUT: sys.stdout.buffer, STDERR: sys.stderr.buffer}
    with raw_terminal(channels.resize) if tty else contextlib.nullcontext():
        threading.Thread(target=_copy_input, args=(channels,), daemon=True).start()
        for output in channels.outputs():
            outputs[output.channel].write(output.data)
            outputs[output.channel].flush()
    assert channels.exit_code is not None
    return channels.exit_code


def _copy_input(channels: Channels) -> None:
    try:
        descriptor = sys.stdin.fileno()
        while data := os.read(descriptor, _PIECE):
            channels.send(data)
    except (OSError, ValueError, AttributeError):
        # No input, or a closed one.
        pass
    channels.close_input()
