"""Run the programs of builders: their output as it comes, and limits for those that hang."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from topcoat.errors import DaemonError
from topcoat.notices import SLOW_S, notice, notice_if_slow
from topcoat.tasks import Task

_BLOCK = 1 << 20
_QUICK_TIMEOUT_S = 60
_MAX_SILENCE_S = 3600
_POLL_S = 1.0

OnOutput = Callable[[str], None]
"""Called with each line of a build's output."""


def run_quick(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run *command*, which has no reason to take long, and return its result.

    Raises:
        DaemonError: it did not end in time.
    """
    words = shlex.join(command)
    try:
        with notice_if_slow(f"waiting for: {words}"):
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_QUICK_TIMEOUT_S
            )
    except subprocess.TimeoutExpired:
        raise DaemonError(f"{words} did not end within {_QUICK_TIMEOUT_S} s", hint="see where it hangs") from None


def run_streaming(
    command: Sequence[str], on_output: OnOutput, *, env: Mapping[str, str], stdin: BinaryIO | None = None
) -> int:
    """Run *command* and return its exit code; *on_output* gets each line of stdout and stderr at once.

    *env* is added to this process's environment; without *stdin*, the input is empty.

    Raises:
        DaemonError: the command printed nothing for an hour.
    """
    pipe, environment = subprocess.PIPE, {**os.environ, **env}
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, env=environment)

    def feed() -> None:
        assert process.stdin is not None
        # A builder that fails stops reading.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            if stdin is not None:
                shutil.copyfileobj(stdin, process.stdin, _BLOCK)

    # It writes while it reads, so a thread feeds it.
    feeding = Task(feed)
    silence = _SilenceWatch(process, Path(command[0]).name)
    with process:
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                silence.heard()
                on_output(raw.decode("utf-8", "backslashreplace").rstrip())
        except BaseException:
            # Without this, leaving the block would wait for the whole build.
            process.kill()
            raise
        finally:
            silence.end()
            feeding.wait()
    if silence.is_too_long:
        raise DaemonError(
            f"{command[0]} printed nothing for {_MAX_SILENCE_S} s and was ended", hint="see where it hangs"
        )
    return process.returncode


class _SilenceWatch:
    """Tell the user once that *process* has printed nothing for a few seconds; kill it after an hour without output."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.is_too_long = False
        self._process, self._name = process, name
        self._last_output = time.monotonic()
        self._ended = threading.Event()
        self._task = Task(self._watch)

    def heard(self) -> None:
        self._last_output = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self._task.wait()

    def _watch(self) -> None:
        is_noticed = False
        while not self._ended.wait(_POLL_S):
            silence = time.monotonic() - self._last_output
            if silence > SLOW_S and not is_noticed:
                is_noticed = True
                notice(f"waiting for {self._name}")
            if silence > _MAX_SILENCE_S:
                self.is_too_long = True
                self._process.kill()
                return
