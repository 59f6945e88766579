"""Servers as foreground children of the test run."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.components.host import ComponentError

_TAIL_LINES = 30


# Below the ports that the kernel gives to whoever asks for any: another test may ask before the server listens.
_PORTS = range(20_000, 30_000)
_next_port = itertools.cycle(range(len(_PORTS)))


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free at this moment, and that no other call has returned."""
    start = os.getpid() * 101
    for _ in _PORTS:
        port = _PORTS[(start + next(_next_port)) % len(_PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ComponentError(f"no free TCP port from {_PORTS.start} to {_PORTS.stop}")


def answers(address: Path | tuple[str, int]) -> bool:
    """Tell whether something accepts connections at a unix socket or a TCP address."""
    family, target = (socket.AF_UNIX, str(address)) if isinstance(address, Path) else (socket.AF_INET, address)
    with socket.socket(family) as probe:
        probe.settimeout(1)
        try:
            probe.connect(target)
        except OSError:
            return False
        return True


def tail(log: Path) -> str:
    """Return the last lines of a server's log, with its name."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return "\n".join([f"--- {log}", *lines[-_TAIL_LINES:]])


@contextlib.contextmanager
def serve(
    command: list[str | Path],
    *,
    log: Path,
    env: Mapping[str, str],
    ready: Callable[[], bool],
    timeout: float = 60,
    grace: float = 15,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends.

    The block starts when ``ready`` answers true. ``timeout`` and ``grace`` (between SIGTERM and SIGKILL) are seconds.
    The server also gets SIGTERM when the test run itself is killed. Raises ComponentError with the end of the log when
    the server ends early or is not ready in time.
    """
    words = [str(word) for word in command]
    setpriv = shutil.which("setpriv")
    if setpriv:
        words = [setpriv, "--pdeathsig", "TERM", "--", *words]
    with log.open("ab") as output:
        # A session of its own, so that ^C reaches the test run alone, which ends its servers in order.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    try:
        _wait(process, words, log, ready, timeout)
        yield process
    finally:
        _end(process, grace)


def _wait(
    process: subprocess.Popen[bytes], words: list[str], log: Path, ready: Callable[[], bool], timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while not ready():
        code = process.poll()
        if code is not None:
            raise ComponentError(f"{' '.join(words)}: ended with {code}\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ComponentError(f"{' '.join(words)}: not ready after {timeout} s\n{tail(log)}")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
