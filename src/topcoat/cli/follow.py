"""Print the logs of one or several replicas."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, TextIO

from topcoat.cli.output import colors, emit
from topcoat.errors import UnknownApp

if TYPE_CHECKING:
    from datetime import datetime

    from topcoat.runner import Runner
    from topcoat.schedulers.api import Stream
    from topcoat.specs import AppStatus

# A longer one is printed as several lines.
_MAX_LINE = 1 << 20
_COLORS = (36, 33, 32, 35, 34, 31)


class ReplicaId(NamedTuple):
    """Identify a replica within its application."""

    role: str
    number: int


class LogQuery(NamedTuple):
    """Select log lines; see ``Scheduler.log_iter``."""

    regex: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    follow: bool = False
    stream: Stream | None = None


def replicas_of(runner: Runner, handle: str) -> list[ReplicaId]:
    """Return every replica of an application.

    Raises:
        UnknownApp: the scheduler does not know the application.
    """
    app = runner.describe(handle)
    if app is None:
        raise unknown_app(handle)
    return [ReplicaId(role.name, number) for role in app.roles for number in range(role.num_replicas)]


def unknown_app(handle: str) -> UnknownApp:
    """Return the error for a *handle* that its scheduler does not know."""
    return UnknownApp(f"unknown job {handle}", hint=f"topcoat list -s {handle.partition('://')[0]}")


def wait_until_started(runner: Runner, handle: str, *, for_logs: bool = True) -> AppStatus:
    """Wait until an application runs or has ended, or *for_logs* until its log can be followed; return its status.

    Raises:
        UnknownApp: the scheduler does not know the application.
    """
    from topcoat.notices import notice_if_slow
    from topcoat.specs import is_started

    pause = 0.02
    is_ready = for_logs and runner.follows_pending(handle)
    with notice_if_slow(f"waiting for {handle} to start"):
        status = runner.status(handle)
        while status is not None and not (is_ready or is_started(status.state)):
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)
            status = runner.status(handle, patient=True)
    if status is None:
        raise unknown_app(handle)
    return status


def print_logs(
    runner: Runner,
    handle: str,
    replicas: Sequence[ReplicaId],
    query: LogQuery,
    out: TextIO,
    always_prefix: bool = False,
) -> bool:
    """Print the logs of *replicas* to *out*, and tell whether the last line is complete.

    For several replicas, or with *always_prefix*, lines begin with ``role/replica``.

    With ``query.follow``, print all replicas concurrently until the application has ended; else one after the other.
    """

    def lines(replica: ReplicaId) -> Iterable[str]:
        regex, since, until, follow, stream = query
        return runner.log_lines(handle, *replica, regex, since, until, should_tail=follow, streams=stream)

    from topcoat.schedulers.logs import undecodable_bytes_kept

    with undecodable_bytes_kept():
        if len(replicas) == 1 and not always_prefix:
            piece = "\n"
            for piece in lines(replicas[0]):
                emit(piece, out)
            return piece.endswith("\n")
        _print_together(lines, replicas, query.follow, out)
    return True


def _print_together(
    lines: Callable[[ReplicaId], Iterable[str]], replicas: Sequence[ReplicaId], follow: bool, out: TextIO
) -> None:
    lock = threading.Lock()
    width = max((len(f"{role}/{number}") for role, number in replicas), default=0)
    copiers = []
    for position, replica in enumerate(replicas):
        name = f"{replica.role}/{replica.number}".ljust(width)
        prefix = f"\033[{_COLORS[position % len(_COLORS)]}m{name}\033[0m " if colors(out) else f"{name} "
        copiers.append(_copier(lines, replica, prefix, out, lock))
    if follow:
        _run_concurrently(copiers)
    else:
        for copy in copiers:
            copy()


def _run_concurrently(functions: Sequence[Callable[[], None]]) -> None:
    """Run *functions* in threads until all have returned; if one raises, raise its exception without waiting."""
    outcomes: SimpleQueue[BaseException | None] = SimpleQueue()

    def run(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            outcomes.put(error)
        else:
            outcomes.put(None)

    for function in functions:
        threading.Thread(target=run, args=(function,), daemon=True).start()
    for _ in functions:
        if (error := outcomes.get()) is not None:
            raise error


def _copier(
    lines: Callable[[ReplicaId], Iterable[str]], replica: ReplicaId, prefix: str, out: TextIO, lock: threading.Lock
) -> Callable[[], None]:
    def copy() -> None:
        line = ""
        for piece in lines(replica):
            # Write whole lines, so that lines of two replicas do not mix.
            line += piece
            is_whole = line.endswith(("\n", "\r"))
            if is_whole or len(line) >= _MAX_LINE:
                with lock:
                    emit(f"{prefix}{line[:-1] if is_whole else line}\n", out)
                line = ""
        if line:
            with lock:
                emit(f"{prefix}{line}\n", out)

    return copy
