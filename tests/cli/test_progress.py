from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import environment
from topcoat.cli import progress
from topcoat.cli.progress import Progress

PROGRAM = """
import sys, time
from topcoat.cli.progress import Progress
with Progress("doing a thing"):
    time.sleep(float(sys.argv[1]))
print("rich" in sys.modules)
"""


def _on_a_terminal(seconds: float) -> tuple[str, bool]:
    """Return what a terminal shows while something takes *seconds*, and whether rich was imported."""
    mine, theirs = pty.openpty()
    with open(mine, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(seconds)],
            env=environment(TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        try:
            while data := terminal.read(1024):
                shown += data
        except OSError:
            # Linux reports this when no process has the terminal open for writing.
            pass
        out, _ = process.communicate(timeout=30)
    return shown.decode(), out.strip() == b"True"


def test_a_slow_operation_shows_a_spinner_on_a_terminal_until_it_ends() -> None:
    shown, rich = _on_a_terminal(1.2)
    assert "topcoat: doing a thing" in shown
    assert shown.endswith(("\x1b[2K", "\x1b[?25h\r\x1b[1A\x1b[2K"))
    assert rich


def test_a_quick_operation_shows_nothing_and_imports_nothing() -> None:
    assert _on_a_terminal(0.05) == ("", False)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "quiet"), [(io.StringIO(), False), (_Terminal(), True)])
def test_no_spinner_without_a_terminal_or_when_quiet(
    stream: io.StringIO, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "DELAY_S", 0)
    with Progress("doing a thing", quiet=quiet):
        time.sleep(0.1)
    assert stream.getvalue() == ""
