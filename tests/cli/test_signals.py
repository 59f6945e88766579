"""Being asked to end: what was begun is ended, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.signals import default_signals

_PROGRAM = """
import sys
from topcoat.builders.programs import run_streaming
from topcoat.cli.error_handler import ErrorHandler
from topcoat.cli.signals import signals_as_exceptions

def build(handler):
    return run_streaming(["sh", "-c", "echo $$; exec sleep 600"], lambda line: print(line, flush=True), env={})

with signals_as_exceptions():
    code = ErrorHandler().run(build)
sys.exit(code)
"""


def _ended(pid: int) -> bool:
    """Tell whether a process is gone, or about to be: dead, and not yet waited for."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_builder_does_not_outlive_the_command_that_started_it(number: signal.Signals) -> None:
    with default_signals():
        process = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    builder = int(process.stdout.readline())
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    process.stdout.close()
    end = time.monotonic() + 60
    while not _ended(builder):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    program = (
        "import signal\n"
        "from topcoat.cli.signals import signals_as_exceptions\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with signals_as_exceptions():\n"
        "    signal.raise_signal(signal.SIGHUP)\n"
        "print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "alive\n"
