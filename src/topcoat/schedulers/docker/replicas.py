"""Look into a container: its terminal, commands beside its process, its files."""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from topcoat.engines.engine import engine_errors
from topcoat.errors import SchedulerError
from topcoat.schedulers.copying import ChunkReader, extract, move, split_path, temporary_beside, without_owner
from topcoat.schedulers.terminal import raw_terminal, relay

if TYPE_CHECKING:
    from docker.models.containers import Container

_HEADER = struct.Struct(">BxxxI")
_SPOOLED = 64 << 20
_GO_DIRECTORY = 1 << 31  # os.ModeDir of Go


def open_terminal(container: Container) -> Any:
    """Return the stream of *container*'s terminal. Open it before the start: engines log whole lines only."""
    api, container_id = _api(container)
    with engine_errors(f"attaching to {container.name}"):
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "logs": 1}
        return api.attach_socket(container_id, params)


def attach(container: Container, stream: Any) -> None:
    """Connect this process's standard streams to the terminal of *container* until its process ends."""
    api, container_id = _api(container)
    _connect(stream, lambda columns, lines: api.resize(container_id, height=lines, width=columns), tty=True)


def execute(container: Container, command: Sequence[str], *, tty: bool) -> int:
    """Run *command* in a running container with this process's standard streams, and return its exit code."""
    _check_running(container)
    api, container_id = _api(container)
    with engine_errors(f"running {command[0]!r} in {container.name}"):
        run = api.exec_create(container_id, [*command], stdin=True, tty=tty)["Id"]
        stream = api.exec_start(run, socket=True, tty=tty)
    _connect(stream, lambda columns, lines: api.exec_resize(run, height=lines, width=columns), tty=tty)
    with engine_errors(f"reading the exit code of {command[0]!r}"):
        code = api.exec_inspect(run)["ExitCode"]
    return 255 if code is None else int(code)


def _api(container: Container) -> tuple[Any, str]:
    client: Any = container.client
    return client.api, str(container.id)


def _check_running(container: Container) -> None:
    if container.status != "running":
        raise SchedulerError(
            f"the container {container.name} does not run: {container.status}", hint="topcoat cp copies its files"
        )


def _connect(stream: Any, resize: Callable[[int, int], object], *, tty: bool) -> None:
    connection: socket.socket = getattr(stream, "_sock", stream)  # docker-py returns a file for some transports
    demultiplexer = _Demultiplexer()

    def show(data: bytes) -> None:
        for output, part in [(1, data)] if tty else demultiplexer.feed(data):
            target = sys.stderr.buffer if output == 2 else sys.stdout.buffer
            target.write(part)
            target.flush()

    def end_input() -> None:
        connection.shutdown(socket.SHUT_WR)

    first = _received(stream, connection)
    connection.settimeout(None)
    try:
        with raw_terminal(resize) if tty else nullcontext():
            if first:
                show(first)
            relay(connection.fileno(), connection.sendall, show, end_input)
    finally:
        with suppress(OSError):
            connection.close()


def _received(stream: Any, connection: socket.socket) -> bytes:
    """Return what came in one piece with the headers of the response: docker-py leaves it in their buffer."""
    buffer = getattr(getattr(getattr(stream, "_response", None), "raw", None), "_fp", None)
    reader = getattr(buffer, "fp", None)
    if not isinstance(reader, io.BufferedReader):
        return b""
    connection.settimeout(0)
    return reader.read1(len(reader.peek()))


class _Demultiplexer:
    """Split the stream of an engine without a terminal: frames of stdout (1) and stderr (2), each after a header."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterable[tuple[int, bytes]]:
        """Return the complete frames."""
        self._pending += data
        while len(self._pending) >= _HEADER.size:
            output, length = _HEADER.unpack_from(self._pending)
            end = _HEADER.size + length
            if len(self._pending) < end:
                return
            yield output, self._pending[_HEADER.size : end]
            self._pending = self._pending[end:]


def copy_from(container: Container, path: str, destination: str | os.PathLike[str]) -> None:
    """Copy a file or directory of *container* to *destination*, which appears whole or not at all."""
    source = _absolute(container, path)
    _, name = split_path(source)
    with engine_errors(f"copying {path} from {container.name}"), temporary_beside(destination) as temporary:
        chunks, _ = container.get_archive(source)
        extract(io.BufferedReader(ChunkReader(chunks)), temporary, path)
        names = os.listdir(temporary)
        if len(names) != 1:
            raise SchedulerError(f"cannot copy {path}: the engine sent {len(names)} files instead of {name}")
        move(os.path.join(temporary, names[0]), destination)


def copy_to(container: Container, source: str | os.PathLike[str], path: str) -> None:
    """Copy a local file or directory into *container*, where it becomes *path*, or gets into that directory."""
    import tarfile
    import tempfile

    directory, name = split_path(_absolute(container, path))
    with engine_errors(f"copying to {path} of {container.name}"), tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
        if name == "." or _is_directory(container, f"{directory}/{name}"):
            directory, name = f"{directory}/{name}", os.path.basename(os.path.abspath(source))
        with tarfile.open(fileobj=spool, mode="w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(source, name, filter=without_owner)
        spool.seek(0)
        container.put_archive(directory, spool)


def _absolute(container: Container, path: str) -> str:
    return os.path.join((container.attrs["Config"].get("WorkingDir") or "/").rstrip("/") + "/", path)


def _is_directory(container: Container, path: str) -> bool:
    from docker.errors import NotFound

    with suppress(NotFound):
        chunks, stat = container.get_archive(path)
        next(iter(chunks), b"")
        return bool(int((stat or {}).get("mode", 0)) & _GO_DIRECTORY)
    return False
