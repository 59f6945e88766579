"""Commands in forked copies of this warm process: a start costs milliseconds, and SIGKILL hits the real code."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from topcoat.cli.main import main

# What changes something outside of the process, or is about to.
_EVENTS = ("open", "os.", "shutil.", "socket.", "subprocess.", "fcntl.")
_TIMEOUT_S = 60.0


class Ended(NamedTuple):
    """How a command ended: its exit code, negative for a signal, and what it printed."""

    code: int
    output: str


class Kill(NamedTuple):
    """When to kill a command: before its event number *event*, or after *seconds*."""

    event: int = 0
    seconds: float = 0.0


NO_KILL = Kill()


def run(words: list[str], output: Path, kill: Kill = NO_KILL, work: Callable[[], object] | None = None) -> Ended:
    """Run the command line *words*, or *work*, in a child; stdout and stderr go to *output*."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _child(words, output, kill, work)
    # A number of a process may belong to another one when the time has come; this belongs to the child for ever.
    handle = os.pidfd_open(child)
    killer = threading.Timer(kill.seconds or _TIMEOUT_S, _kill, (handle,))
    killer.start()
    try:
        _, status = os.waitpid(child, 0)
    finally:
        killer.cancel()
        killer.join()
        os.close(handle)
    code = os.waitstatus_to_exitcode(status)
    text = output.read_text(errors="replace") if output.exists() else ""
    assert code != -signal.SIGKILL or kill != NO_KILL, f"{words} did not end:\n{text}"
    return Ended(code, text)


def _kill(handle: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)


def _child(words: list[str], output: Path, kill: Kill, work: Callable[[], object] | None) -> None:
    code = 70
    try:
        gc.disable()
        os.setsid()
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for descriptor, source in ((0, null), (1, target), (2, target)):
            os.dup2(source, descriptor)
        # pytest may have replaced them.
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        if kill.event:
            _kill_before(kill.event)
        code = main(words) if work is None else int(bool(work()))
    except BaseException as error:
        print(f"unexpected {error!r}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _kill_before(event: int) -> None:
    left = event

    def count(name: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if name.startswith(_EVENTS) and name != "os.kill":
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
